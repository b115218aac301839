package rfc9111

import (
	"net/http"
	"strings"

	"github.com/dunglas/httpsfv"
)

// Groups returns the members of a Cache-Groups or Cache-Group-Invalidation
// field, both lists of strings (RFC 9875 2 and 3). A field that is anything
// else is ignored as a whole; parameters are ignored.
func Groups(lines []string) []string {
	if len(lines) == 0 {
		return nil
	}
	list, err := httpsfv.UnmarshalList(lines)
	if err != nil {
		return nil
	}
	groups := make([]string, 0, len(list))
	for _, member := range list {
		item, ok := member.(httpsfv.Item)
		if !ok {
			return nil
		}
		group, ok := item.Value.(string)
		if !ok {
			return nil
		}
		groups = append(groups, group)
	}
	return groups
}

// SurrogateKeys returns the names under which a response wants to be purged:
// the members of Surrogate-Key, separated by white space, and of Cache-Tag,
// separated by commas. Names are canonical. No standard defines these; keys
// are compared as they stand.
func SurrogateKeys(h http.Header) []string {
	var keys []string
	for _, line := range h["Surrogate-Key"] {
		keys = append(keys, strings.Fields(line)...)
	}
	for _, line := range h["Cache-Tag"] {
		for tag := range strings.SplitSeq(line, ",") {
			if tag = strings.TrimSpace(tag); tag != "" {
				keys = append(keys, tag)
			}
		}
	}
	return keys
}
