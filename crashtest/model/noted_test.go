//go:build linux

package model_test

import (
	"errors"
	"testing"

	"github.com/seawall-wal/seawall/crashtest/campaign"
	"github.com/seawall-wal/seawall/crashtest/model"
	"github.com/seawall-wal/seawall/durability"
)

// TestNothingAcknowledged has a workload write and acknowledge nothing: no state can lack
// anything, and the campaign has verified nothing.
func TestNothingAcknowledged(t *testing.T) {
	t.Parallel()
	silent := campaign.Checked("silent", func(l *campaign.Life, _ func(string)) error {
		d, err := durability.OpenDir(l.Dir, l.Tracer)
		if err != nil {
			return err
		}
		f, err := d.Create("file", 0o644)
		for i := range int64(100) {
			if err == nil {
				_, err = f.WriteAt([]byte("x"), i*512)
			}
		}
		return errors.Join(err, f.Close(), d.Close())
	}, func(string, []string) error { return nil }, nil)
	r, err := model.Run(t.Context(), []campaign.Subject{silent}, model.Options{Limits: campaign.Limits{Seed: 1, States: 50}, Depth: 1})
	if err != nil {
		t.Fatal(err)
	}
	if err = r.Verdict(); !errors.Is(err, campaign.ErrUnverified) || r.Distinct == 0 {
		t.Errorf("%d states: %v", r.Distinct, err)
	}
}
