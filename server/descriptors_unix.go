//go:build unix

package server

import "syscall"

// descriptors returns how many files this process may have open.
func descriptors() int {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return defaultDescriptors
	}
	return int(min(uint64(limit.Cur), 1<<20))
}
