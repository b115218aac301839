package ring

func fields() int { return get().size + get().color }
