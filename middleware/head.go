package middleware

// head runs the handler for a HEAD request that nothing fresh is stored for.
// Its answer has no body to store, and to ask for one would cost the origin
// more than the client wants.
func (x exchange) head() {
	x.pass(x.reason, reasonMethod)
}
