package ring

func busy(list []int, c chan int) int {
	for i := 0; i < 2 && len(list) > 0; i++ {
		for range list {
			i++
		}
	}
	switch len(list) {
	case 0, 1:
		return 1
	default:
		select {
		case n := <-c:
			return n
		default:
		}
	}
	return func() int {
		if len(list) > 2 || cap(list) > 2 {
			return 2
		}
		return 3
	}()
}

// circles: it is as long as it is for a reason
func above() int {
	n := 1
	n++
	n++
	return n
}

func inside() int {
	// circles: so is this
	n := 1
	n++
	return n
}

// circles:
func noReason() int {
	n := 1
	n++
	return n
}

// circles: what is excused is short
func short() {}

// circles: literals can have reasons
var outside = func() int {
	n := 1
	n++
	n++
	return n
}

// circles: no function is here
var lonely int
