//go:build linux

package model_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seawall-wal/seawall/crashtest/campaign"
	"github.com/seawall-wal/seawall/crashtest/model"
	"github.com/seawall-wal/seawall/durability"
)

// deadlocked is a program two of whose goroutines take two locks in another order.
type deadlocked struct{}

// Name implements campaign.Subject.
func (deadlocked) Name() string { return "deadlocked" }

// Workload implements campaign.Subject.
func (deadlocked) Workload(l *campaign.Life) error {
	d, err := durability.OpenDir(l.Dir, l.Tracer)
	if err != nil {
		return err
	}
	f, err := d.Create("file", 0o600)
	if err != nil {
		return err
	}
	if err = f.Sync(); err != nil {
		return err
	}
	var a, b sync.Mutex
	both, other := make(chan bool), make(chan bool)
	a.Lock()
	go func() {
		b.Lock()
		both <- true
		a.Lock() // never
		other <- true
	}()
	<-both
	b.Lock() // never
	<-other
	return f.Close()
}

// Recover implements campaign.Subject.
func (deadlocked) Recover(dir string) (campaign.Found, error) {
	_, err := os.Stat(filepath.Join(dir, "file"))
	if os.IsNotExist(err) {
		err = nil
	}
	return anything{}, err
}

// anything is found by who demands nothing.
type anything struct{}

// Present implements campaign.Found.
func (anything) Present(campaign.Known, bool) error { return nil }

// Legal implements campaign.Found.
func (anything) Legal(campaign.Known, bool) error { return nil }

// TestDeadlock: a life that never ends is a finding, whose token shows it again, and
// the campaign ends.
func TestDeadlock(t *testing.T) {
	defer model.SetDeadlock(300 * time.Millisecond)()
	dir := scratch(t)
	r, err := model.Run(t.Context(), []campaign.Subject{deadlocked{}}, model.Options{
		Limits: campaign.Limits{Dir: dir, Seed: 1, States: 100, Cores: 1},
	})
	if err != nil || len(r.Findings) != 1 {
		t.Fatalf("%+v, %v", r, err)
	}
	f := r.Findings[0]
	if f.Kind != campaign.Stuck || !strings.Contains(f.Summary, "each goroutine waits for another one") || !strings.Contains(f.Summary, "2 in sync.Mutex.Lock") {
		t.Errorf("%+v", f)
	}
	again, err := model.Replay(context.Background(), f.Token, dir, func(string) campaign.Subject { return deadlocked{} })
	if err != nil || again.Summary != f.Summary {
		t.Errorf("replay: %+v, %v", again, err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
