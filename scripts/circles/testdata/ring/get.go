package ring

func get() *box { return &box{} }
