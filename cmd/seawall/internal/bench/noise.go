//go:build linux

package bench

import (
	"fmt"
	"slices"
	"strings"
)

const (
	// spreadBound is how far the first limit may spread over the runs. It does the same
	// work in each: what spreads is the machine. Syncs of a quiet disk spread by a tenth.
	spreadBound = 0.25
	// othersBound is which part of the processors others may take. The kernel's own
	// threads are among them, and write what was synced: they take some hundredths.
	othersBound = 0.20
	// shortest is the processor time, in ticks of /proc/stat, from which on a share
	// of it is told: fewer ticks are counted too coarsely.
	shortest = 20
)

// spread returns how far numbers spread: largest less smallest, by the median.
func spread(of []float64) float64 { return (slices.Max(of) - slices.Min(of)) / median(of) }

// othersShare returns which part of the processors others took, or nil where the time
// was too short to tell.
func othersShare(c *counted) *float64 {
	if c.wall.Seconds()*userHz < shortest {
		return nil
	}
	share := min(1, max(0, float64(c.everybody-c.own)/float64(c.wall)))
	return &share
}

// noise returns why the machine was too noisy to tell, or "".
func noise(spread float64, others *float64, limit string) string {
	var why []string
	if spread > spreadBound {
		why = append(why, fmt.Sprintf("the limit itself (%s) spread by %.0f %% over the runs (bound %.0f %%)",
			limit, 100*spread, 100*spreadBound))
	}
	if others != nil && *others > othersBound {
		why = append(why, fmt.Sprintf("others took %.0f %% of the processors (bound %.0f %%)", 100**others, 100*othersBound))
	}
	return strings.Join(why, "; ")
}
