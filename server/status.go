package server

import (
	"fmt"
	"net/http"
)

// checkStatus makes a failed exchange, and so a 502 or a stale response, of
// one whose status is none. net/http reads 000 to 099 from an upstream, and in
// HTTP/2 any number at all, but panics when it is to write them.
func checkStatus(resp *http.Response) error {
	if resp.StatusCode < 100 || resp.StatusCode > 999 {
		return fmt.Errorf("upstream sent the status %d, which is none", resp.StatusCode)
	}
	return nil
}
