package model_test

import (
	"os"
	"runtime/debug"
	"testing"
)

// TestMain has the garbage collector run less often, as the command's campaigns do.
func TestMain(m *testing.M) {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(400)
	}
	os.Exit(m.Run())
}
