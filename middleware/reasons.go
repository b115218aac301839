package middleware

import "github.com/freshet-go/freshet/middleware/internal/fill"

// Reasons of this package, beside those of rfc9111: each is a detail of
// Cache-Status and a label of metrics. The package's documentation lists all.
const (
	reasonMethod        = "method"
	reasonBody          = "body"
	reasonAuthorization = "authorization"
	reasonUpgrade       = "upgrade"
	reasonConnection    = "connection"
	reasonCredentials   = "credentials"
	reasonPrecondition  = "precondition"
	reasonOnlyIfCached  = "only_if_cached"
	reasonCookie        = "cookie"
	reasonTooLarge      = fill.ReasonTooLarge
	reasonVariants      = "variants"
	reasonEmpty         = fill.ReasonEmpty
	reasonEventStream   = "event_stream"
	reasonIncomplete    = fill.ReasonIncomplete
	reasonTimeout       = fill.ReasonTimeout
	reasonUnheard       = fill.ReasonUnheard
	reasonPanic         = "panic"
	reasonPurged        = "purged"
	reasonClosed        = "closed"
	reasonError         = "error"
	reasonCrowded       = "crowded"
)
