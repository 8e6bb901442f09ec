//go:build linux

package seawall_test

import (
	"fmt"
	"os"
	"runtime/debug"
	"testing"
)

// TestMain has the garbage collector run less often, as the command's campaigns do.
func TestMain(m *testing.M) {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(400)
	}
	if dir := os.Getenv(withoutProc); dir != "" {
		if err := liveWithoutProc(dir); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}
