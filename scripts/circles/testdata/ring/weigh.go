package ring

// The circle with caller.go is closed by the call of this method alone.
func (b *box) weigh() int {
	if b == nil {
		return caller()
	}
	return 1
}
