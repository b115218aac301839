package ring

type lid struct{ color int }
