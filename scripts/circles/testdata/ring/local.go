package ring

func local(get int) (box int) {
	lid := get
	return lid
}
