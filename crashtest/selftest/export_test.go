//go:build linux

package selftest

import (
	"github.com/seawall-wal/seawall/crashtest/campaign"
)

// Mended returns a variant whose fault is taken away.
func Mended(v Variant) Variant {
	v.fault = fault{}
	return v
}

// Planted returns a variant that is not listed: each third sync is skipped.
func Planted() Variant {
	return skips("planted", "C2", "each third sync does nothing", func(sc *scene, c *call) bool {
		return syncs(c) && sc.syncs%3 == 0
	}, "C5")
}

// Accepting returns the variant with an oracle that accepts everything.
func Accepting(v Variant) Variant {
	v.accept = func(s campaign.Subject) campaign.Subject { return &accepting{s} }
	return v
}

// accepting is a subject whose recovery is not looked at.
type accepting struct{ campaign.Subject }

// Recover implements campaign.Subject.
func (a *accepting) Recover(string) (campaign.Found, error) { return anything{}, nil }

// RecoverFiles implements campaign.Pure.
func (a *accepting) RecoverFiles(map[string][]byte) (campaign.Found, error) { return anything{}, nil }

// anything is always what was expected.
type anything struct{}

// Present implements campaign.Found.
func (anything) Present(campaign.Known, bool) error { return nil }

// Legal implements campaign.Found.
func (anything) Legal(campaign.Known, bool) error { return nil }
