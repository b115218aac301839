// Package ring is what circles is tested on: some of its files use each other.
package ring

func caller() int { return get().weigh() }
