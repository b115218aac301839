// Command conformance runs the public test suite for HTTP caches against this
// project's caches and compares the result with what they are known to pass.
// It is run by scripts/conformance.sh, which installs what it needs, in the
// root of the repository.
//
// With -all it runs nginx and Varnish beside them, writes docs/conformance.md,
// and adds what passes now to the baseline. Every test that the gateway does
// not pass has to have its reason in reasons.txt.
//
// The suite judges one request at a time; some of its answers are a matter of
// taste. It is a yardstick, the RFCs are the rules.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	folder       = "scripts/conformance"
	suiteFolder  = folder + "/suite"
	baselineFile = folder + "/baseline.txt"
	reasonsFile  = folder + "/reasons.txt"
	reportFile   = "docs/conformance.md"

	runLimit = 4 * time.Minute // one run is about 40 seconds

	// mostRetries is how many lost tests are taken for accidents at most.
	mostRetries = 20
)

func main() {
	all := flag.Bool("all", false, "run nginx and Varnish too, write "+reportFile+" and the baseline")
	only := flag.String("cache", "", "run this cache only, and print what does not pass")
	flag.Parse()
	ok, err := run(*all, *only)
	if err != nil {
		fmt.Fprintf(os.Stderr, "conformance: %v\n", err)
	}
	if !ok || err != nil {
		os.Exit(1)
	}
}

// A score is what the run of one cache came to.
type score struct {
	cache   cache
	results map[string]result
	judged  map[string]outcome
}

func run(all bool, only string) (ok bool, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), runLimit)
	defer cancel()
	base, err := readBaseline(baselineFile)
	if err != nil {
		return false, err
	}
	reasons, err := readReasons(reasonsFile)
	if err != nil {
		return false, err
	}
	dir, err := os.MkdirTemp("", "conformance-")
	if err != nil {
		return false, err
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil { // nginx's workers are another user
		return false, err
	}
	if err := build(ctx, dir); err != nil {
		return false, err
	}
	var suite []section
	if err := node(ctx, suiteFolder, &suite, "list"); err != nil {
		return false, err
	}
	chosen := slices.DeleteFunc(caches(dir), func(c cache) bool {
		return only != "" && c.name != only || only == "" && !all && !c.ours
	})
	scores, err := runAll(ctx, dir, suite, chosen, base)
	if err != nil {
		return false, err
	}
	ok = judge(suite, scores, base, reasons)
	if only != "" {
		for _, s := range scores {
			printMisses(suite, s)
		}
	}
	if all {
		err = publish(suite, scores, base, reasons)
	}
	return ok, err
}

// build builds our programs.
func build(ctx context.Context, bin string) error {
	for name, pkg := range binaries {
		cmd := exec.CommandContext(ctx, "go", "build", "-o", filepath.Join(bin, name), pkg)
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("go build %s: %w: %s", pkg, err, out)
		}
	}
	return nil
}

// runAll runs the suite against all caches side by side: most of its time are
// pauses.
func runAll(ctx context.Context, dir string, suite []section, chosen []cache, base baseline) ([]score, error) {
	address, stop, err := origin(suiteFolder)
	if err != nil {
		return nil, err
	}
	defer stop()
	scores := make([]score, len(chosen))
	errs := make([]error, len(chosen))
	var wg sync.WaitGroup
	for i, c := range chosen {
		wg.Go(func() {
			own := filepath.Join(dir, "run-"+c.name)
			if errs[i] = os.Mkdir(own, 0o777); errs[i] == nil {
				scores[i], errs[i] = runOne(ctx, own, suite, c, address, base)
			}
		})
	}
	wg.Wait()
	for i, err := range errs {
		if err != nil {
			return nil, fmt.Errorf("%s: %w", chosen[i].name, err)
		}
	}
	return scores, nil
}

// runOne runs the suite against one cache. What passed before and does not now
// gets a second try alone: tests share two cores with each other, and some of
// them depend on what fits into a second.
func runOne(ctx context.Context, dir string, suite []section, c cache, origin string, base baseline) (score, error) {
	s := score{cache: c}
	listen, err := freeAddress()
	if err != nil {
		return s, err
	}
	command, err := c.command(dir, listen, origin)
	if err != nil {
		return s, err
	}
	p, err := start(dir, command[0], command[1:]...)
	if err != nil {
		return s, err
	}
	defer p.stop()
	if err := p.answers(listen); err != nil {
		return s, err
	}
	if err := node(ctx, suiteFolder, &s.results, "run", "http://"+listen); err != nil {
		return s, fmt.Errorf("%w; the cache said: %s", err, p.tail())
	}
	s.judged = outcomes(suite, s.results)
	lost := base.lost(c.name, s.judged)
	if again := suspects(suite, s.results, lost); 0 < len(again) && len(again) <= mostRetries {
		var results map[string]result
		if err := node(ctx, suiteFolder, &results, append([]string{"alone", "http://" + listen}, again...)...); err != nil {
			return s, err
		}
		for id, r := range results {
			s.results[id] = r
		}
		s.judged = outcomes(suite, s.results)
	}
	return s, nil
}

// judge prints the scores and reports whether our caches keep theirs, and what
// they do not pass has a reason.
func judge(suite []section, scores []score, base baseline, reasons []reason) bool {
	ok := true
	complain := func(format string, args ...any) {
		ok = false
		fmt.Printf(format+"\n", args...)
	}
	for _, s := range scores {
		fmt.Printf("%-10s %s\n", s.cache.name, line(tallyOf(suite, s.judged)))
		if !s.cache.ours {
			continue
		}
		for _, id := range base.lost(s.cache.name, s.judged) {
			complain("LOST: %s no longer passes %s (%s): %s", s.cache.name, id, s.judged[id], s.results[id].Message)
		}
		for _, t := range missed(suite, s) {
			if s.judged[t.ID] != unfounded && why(reasons, s.cache.name, t.ID) == "" {
				complain("NO REASON in %s why %s does not pass %s (%s, %s): %s", reasonsFile, s.cache.name, t.ID, t.Kind, s.judged[t.ID], s.results[t.ID].Message)
			}
		}
	}
	for _, r := range idle(suite, scores, reasons) {
		fmt.Printf("note: nothing needs this reason any more: %s %s\n", r.caches, r.pattern)
	}
	return ok
}

// idle returns the reasons that no test in scores needs.
func idle(suite []section, scores []score, reasons []reason) []reason {
	var unused []reason
	for _, r := range reasons {
		used, about := false, false
		for _, s := range scores {
			about = about || s.cache.ours && (r.caches == "*" || r.caches == s.cache.name)
			used = used || s.cache.ours && slices.ContainsFunc(missed(suite, s), func(t test) bool { return r.covers(s.cache.name, t.ID) })
		}
		if about && !used {
			unused = append(unused, r)
		}
	}
	return unused
}

// missed returns the tests that a cache has not passed.
func missed(suite []section, s score) []test {
	var tests []test
	for _, section := range suite {
		for _, t := range section.Tests {
			if s.judged[t.ID] != passed {
				tests = append(tests, t)
			}
		}
	}
	return tests
}

func printMisses(suite []section, s score) {
	for _, t := range missed(suite, s) {
		fmt.Printf("  %-9s %-17s %-50s %s\n", t.Kind, s.judged[t.ID], t.ID, s.results[t.ID].Message)
	}
}

// publish writes the report, and the baseline with what passes now.
func publish(suite []section, scores []score, base baseline, reasons []reason) error {
	for _, s := range scores {
		if !s.cache.ours {
			continue
		}
		for id, o := range s.judged {
			if o == passed && !slices.Contains(base[s.cache.name], id) {
				base[s.cache.name] = append(base[s.cache.name], id)
			}
		}
	}
	if err := base.write(baselineFile); err != nil {
		return err
	}
	return os.WriteFile(reportFile, []byte(report(suite, scores, reasons)), 0o644)
}

// line writes a tally as "a/b required, c/d optimal, e/f check".
func line(t tally) string {
	parts := make([]string, len(kinds))
	for i, k := range kinds {
		parts[i] = fmt.Sprintf("%d/%d %s", t.passed[k], t.all[k], k)
	}
	return strings.Join(parts, ", ")
}
