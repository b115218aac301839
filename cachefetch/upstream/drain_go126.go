//go:build !go1.27

package upstream

// poolDrains is whether net/http itself reads on in a body that is closed
// before its end, as it does since Go 1.27.
const poolDrains = false
