package ring

type box struct {
	lid
	size int
}
