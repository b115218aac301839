package rfc9111

// HeuristicStatus reports whether a response with this status code may be
// given a heuristic lifetime (RFC 9110 15.1). It includes 206 as the RFC does,
// although [Store] refuses partial responses.
func HeuristicStatus(status int) bool {
	switch status {
	case 200, 203, 204, 206, 300, 301, 308, 404, 405, 410, 414, 501:
		return true
	}
	return false
}

// UnderstoodStatus reports whether everything that the definition of this
// status code says about caching is implemented, which is what must-understand
// asks for (5.2.2.3). Such are the final codes of RFC 9110 15 except those
// that [Store] refuses, and a few others that ask for nothing special.
func UnderstoodStatus(status int) bool {
	switch {
	case unstorableStatus(status) != Storable:
		return false
	case 200 <= status && status <= 205,
		300 <= status && status <= 303, status == 305, status == 307, status == 308,
		400 <= status && status <= 411, status == 413, status == 414, status == 415, status == 417,
		status == 421, status == 422, status == 426, status == 451,
		500 <= status && status <= 505:
		return true
	}
	return false
}

// unstorableStatus says why a response with this status code is never stored,
// whatever else it says.
func unstorableStatus(status int) Reason {
	switch status {
	case 206:
		return ReasonPartial // 3.3: ranges are not combined
	case 304, 412, 416:
		// They answer the condition or range of one request, which is no
		// part of the key that another request is looked up by.
		return ReasonStatus
	case 428, 429, 431, 511:
		return ReasonStatus // RFC 6585 3 to 6: must not be stored
	}
	if status < 200 || status > 599 {
		return ReasonStatus // 3: not final, or no status code at all
	}
	return Storable
}
