package middleware

// Reasons of this package, beside those of rfc9111: each is a detail of
// Cache-Status and a label of metrics. The package's documentation lists all.
const (
	reasonMethod        = "method"
	reasonBody          = "body"
	reasonAuthorization = "authorization"
	reasonUpgrade       = "upgrade"
	reasonConnection    = "connection"
	reasonOnlyIfCached  = "only-if-cached"
	reasonCookie        = "cookie"
	reasonTooLarge      = "too-large"
	reasonVariants      = "variants"
	reasonFlush         = "flush"
	reasonHijack        = "hijack"
	reasonEmpty         = "empty"
	reasonEventStream   = "event-stream"
	reasonIncomplete    = "incomplete"
	reasonTimeout       = "timeout"
	reasonPanic         = "panic"
	reasonPurged        = "purged"
	reasonClosed        = "closed"
	reasonError         = "error"
	reasonCrowded       = "crowded"
)
