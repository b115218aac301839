package middleware

// Reasons why a response was not stored or nothing could be used: the detail
// parameter of Cache-Status, and a label of metrics. Those of package rfc9111
// are added to them.
const (
	reasonMethod        = "method"
	reasonBody          = "body"
	reasonAuthorization = "authorization"
	reasonUpgrade       = "upgrade"
	reasonOnlyIfCached  = "only-if-cached"
	reasonCookie        = "cookie"
	reasonTooLarge      = "too-large"
	reasonVariants      = "variants"
	reasonFlush         = "flush"
	reasonHijack        = "hijack"
	reasonEmpty         = "empty"
	reasonEventStream   = "event-stream"
	reasonIncomplete    = "incomplete"
	reasonPanic         = "panic"
	reasonPurged        = "purged"
	reasonClosed        = "closed"
	reasonError         = "error"
)
