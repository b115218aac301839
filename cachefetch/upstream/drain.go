//go:build go1.27

package upstream

// poolDrains is whether net/http itself reads on in a body that is closed
// before its end. It does: at most 256 KiB and 50 ms, after Close has returned.
const poolDrains = true
