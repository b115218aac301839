package server

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	cachemw "github.com/freshet-go/freshet/middleware"
)

// policyParts split a policy into the values that can be wrong by themselves,
// each under its key in the file. An error of one part is reported where that
// part stands; what is wrong only in combination, where the policy stands.
func policyParts(p cachemw.Policy) []policyPart {
	parts := []policyPart{
		{"name", cachemw.Policy{Name: p.Name}},
		{"ttl", cachemw.Policy{TTL: p.TTL}},
		{"heuristic_limit", cachemw.Policy{HeuristicLimit: p.HeuristicLimit}},
		{"targeted_fields", cachemw.Policy{TargetedFields: p.TargetedFields}},
		{"set_cookie", cachemw.Policy{SetCookie: p.SetCookie}},
		{"stale_while_revalidate", cachemw.Policy{StaleWhileRevalidate: p.StaleWhileRevalidate}},
		{"stale_if_error", cachemw.Policy{StaleIfError: p.StaleIfError}},
		{"soft_timeout", cachemw.Policy{SoftTimeout: p.SoftTimeout}},
		{"fill_timeout", cachemw.Policy{FillTimeout: p.FillTimeout}},
		{"wait_timeout", cachemw.Policy{WaitTimeout: p.WaitTimeout}},
		{"max_body_bytes", cachemw.Policy{MaxBodyBytes: p.MaxBodyBytes}},
		{"max_bytes", cachemw.Policy{MaxBytes: p.MaxBytes}},
		{"max_waiting", cachemw.Policy{MaxWaiting: p.MaxWaiting}},
		{"max_orphans", cachemw.Policy{MaxOrphans: p.MaxOrphans}},
		{"max_variants", cachemw.Policy{MaxVariants: p.MaxVariants}},
		{"query", cachemw.Policy{Query: p.Query}},
		{"credentials", cachemw.Policy{Credentials: p.Credentials}},
		{"headers", cachemw.Policy{Headers: p.Headers}},
		{"request_directives", cachemw.Policy{RequestDirectives: p.RequestDirectives}},
	}
	statuses := make([]int, 0, len(p.StatusTTL))
	for status := range p.StatusTTL {
		statuses = append(statuses, status)
	}
	slices.Sort(statuses)
	for _, status := range statuses {
		parts = append(parts, policyPart{
			fmt.Sprintf("status_ttl.%d", status),
			cachemw.Policy{StatusTTL: map[int]time.Duration{status: p.StatusTTL[status]}},
		})
	}
	return parts
}

type policyPart struct {
	key    string
	policy cachemw.Policy
}

func validatePolicy(l *errorList, path string, p cachemw.Policy, check func(cachemw.Policy) error) {
	before := len(l.errs)
	for _, part := range policyParts(p) {
		for _, err := range flatten(check(part.policy)) {
			l.add(path+"."+part.key, "%s", policyReason(err))
		}
	}
	if len(l.errs) > before {
		return
	}
	for _, err := range flatten(check(p)) {
		l.add(path, "%v", err)
	}
}

// limitKeys maps the names of a limiter's options to those in a file.
var limitKeys = map[string]string{"MaxInFlight": "max_in_flight", "MaxQueue": "max_queue", "QueueTimeout": "queue_timeout"}

func validateLimit(l *errorList, path string, o cachemw.LimitOptions) {
	for _, err := range flatten(o.Validate()) {
		field, reason, _ := strings.Cut(strings.TrimPrefix(err.Error(), "middleware: LimitOptions."), ": ")
		l.add(path+"."+limitKeys[field], "%s", reason)
	}
}

// policyReason drops "middleware: Policy.Field: ", which the path says too.
func policyReason(err error) string {
	rest, ok := strings.CutPrefix(err.Error(), "middleware: Policy.")
	if !ok {
		return err.Error()
	}
	if _, reason, ok := strings.Cut(rest, ": "); ok {
		return reason
	}
	return rest
}

// flatten takes apart what errors.Join has put together.
func flatten(err error) []error {
	if err == nil {
		return nil
	}
	var joined interface{ Unwrap() []error }
	if errors.As(err, &joined) {
		var all []error
		for _, e := range joined.Unwrap() {
			all = append(all, flatten(e)...)
		}
		return all
	}
	return []error{err}
}
