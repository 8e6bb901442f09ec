//go:build linux

package model_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"testing"

	"github.com/seawall-wal/seawall/crashtest/campaign"
	"github.com/seawall-wal/seawall/crashtest/model"
	"github.com/seawall-wal/seawall/durability"
)

// numbers is a file with a number of two halves, each in a sector of its own: the upper
// one is written first and synced before the lower one is. It acknowledges a number when
// the lower half is written, and syncs that only every third time.
type numbers struct{ right bool }

// Name implements campaign.Subject.
func (s numbers) Name() string { return fmt.Sprintf("numbers %v", s.right) }

// Workload implements campaign.Subject.
func (s numbers) Workload(l *campaign.Life) error {
	d, err := durability.OpenDir(l.Dir, l.Tracer)
	if err != nil {
		return err
	}
	f, err := d.Create("n", 0o644)
	if err != nil {
		return errors.Join(err, d.Close())
	}
	err = errors.Join(f.Truncate(1024), f.Sync(), d.Sync())
	for n := uint64(1); err == nil && n < 6+l.Seed%5; n++ {
		half := binary.LittleEndian.AppendUint64(nil, n)
		if _, err = f.WriteAt(half, 0); err == nil {
			err = f.Sync()
		}
		if err == nil {
			_, err = f.WriteAt(half, 512)
		}
		if err == nil && (s.right || n%3 == 0) {
			err = f.Sync()
		}
		l.Note(number(n))
	}
	return errors.Join(err, f.Close(), d.Close())
}

// number is a number that is known, or that was found.
type number uint64

// Recover implements campaign.Subject.
func (s numbers) Recover(string) (campaign.Found, error) { return nil, errors.New("it is pure") }

// RecoverFiles implements campaign.Pure.
func (s numbers) RecoverFiles(files map[string][]byte) (campaign.Found, error) {
	b := files["n"]
	if len(b) < 1024 {
		return number(0), nil
	}
	return number(min(binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[512:]))), nil
}

// Present implements campaign.Found.
func (n number) Present(k campaign.Known, killed bool) error {
	if acked, _ := k.(number); acked > n && !killed {
		return fmt.Errorf("%d was acknowledged, and it is %d", acked, n)
	}
	return nil
}

// Legal implements campaign.Found.
func (n number) Legal(campaign.Known, bool) error { return nil }

// TestPlantedFromAnySeed finds a fault from each of a hundred seeds, shrunk to the one
// sector that is to blame, and again by its token; with the fault mended it finds nothing.
func TestPlantedFromAnySeed(t *testing.T) {
	t.Parallel()
	o := func(seed uint64) model.Options {
		return model.Options{Limits: campaign.Limits{Seed: seed, States: 500, Cores: 1}, Depth: 1, Real: 1 << 40}
	}
	find := func(string) campaign.Subject { return numbers{} }
	for seed := range uint64(100) {
		r, err := model.Run(t.Context(), []campaign.Subject{numbers{}}, o(seed))
		if err != nil || len(r.Findings) != 1 {
			t.Fatalf("seed %d: %v, %+v", seed, err, r)
		}
		f := r.Findings[0]
		if f.Kind != campaign.Lost || len(f.Lost) != 1 {
			t.Errorf("seed %d: %+v", seed, f)
		}
		again, err := model.Replay(t.Context(), f.Token, "", find)
		if err != nil || again.Summary != f.Summary || len(again.Lost) != 1 || again.Lost[0] != f.Lost[0] {
			t.Errorf("seed %d: %s, %v; again: %+v, %v", seed, f.Summary, f.Lost, again, err)
		}
	}
	r, err := model.Run(t.Context(), []campaign.Subject{numbers{right: true}}, o(1))
	if err != nil || len(r.Findings) > 0 || r.Distinct == 0 {
		t.Errorf("mended: %v, %+v", err, r)
	}
}
