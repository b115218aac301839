package ring

func otherPlatform() int {
	n := 1
	n++
	n++
	return n
}
