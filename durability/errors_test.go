package durability_test

import (
	"errors"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/seawall-wal/seawall/durability/durabilitytest"
)

// TestLimitsAreExplainedOnce has no descriptor left: what to do about it is said, once.
func TestLimitsAreExplainedOnce(t *testing.T) {
	t.Parallel()
	for errno, hint := range map[unix.Errno]string{unix.EMFILE: "ulimit -n", unix.ENFILE: "fs.file-max"} {
		d := openDir(t, t.TempDir(), nil)
		f := newFile(t, d, "f", 8192)
		durabilitytest.Inject(t, d.Path(), func(c *durabilitytest.Call) error {
			if c.Op == durabilitytest.OpReadDirect || c.Op == durabilitytest.OpOpen {
				return errno
			}
			return nil
		})
		_, _, direct := f.ReadDirect(make([]byte, 4096), 0)
		_, open := d.Open("f", false)
		for what, err := range map[string]error{"a direct read": direct, "opening a file": open} {
			if !errors.Is(err, errno) || strings.Count(err.Error(), hint) != 1 {
				t.Errorf("%s: %v, want it to name %s once", what, err, hint)
			}
		}
	}
}
