//go:build linux

package experiment_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/seawall-wal/seawall/crashtest/experiment"
)

// ext4Env has this binary run an experiment on an ext4 of its own, below the
// directory that it names.
const ext4Env = "SEAWALL_EXPERIMENT_TEST_EXT4"

// TestMain lets the experiments' children, which are this binary, do their work.
func TestMain(m *testing.M) {
	experiment.BeChild()
	if dir := os.Getenv(ext4Env); dir != "" {
		if err := runOnExt4(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// runOnExt4 mounts, in this process's mount namespace, and prints the result.
func runOnExt4(dir string) error {
	mount := filepath.Join(dir, "mount")
	if err := os.Mkdir(mount, 0o700); err != nil {
		return err
	}
	if err := experiment.MountExt4(mount, filepath.Join(dir, "image")); err != nil {
		return err
	}
	e, _ := experiment.Find("torn")
	r, err := e.Run(testContext, experiment.Env{Dir: mount})
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(r)
}

// cannot ends a test that this environment cannot run: skipped, or, where CI
// promises the environment, failed.
func cannot(t testing.TB, why any) {
	t.Helper()
	if os.Getenv("SEAWALL_CI") == "1" {
		t.Fatalf("must run in CI: %v", why)
	}
	t.Skip(why)
}

// must ends the test on an error.
func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
