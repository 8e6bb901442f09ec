//go:build linux

package powerloss_test

import (
	"strings"
	"testing"

	"github.com/seawall-wal/seawall/crashtest/campaign"
	"github.com/seawall-wal/seawall/crashtest/powerloss"
)

// TestWords tells of requests what they were to write: of which file, which page,
// directory or inode.
func TestWords(t *testing.T) {
	need(t)
	t.Parallel()
	for name, want := range map[string][]string{
		"ext4": {
			"page 0 of journal-10", "the journal: the commit of transaction ", "inodes 1 to 16 ({dir}, journal-10", "directory block 0 of {dir}",
			"entries journal-10",
		},
		"xfs":   {"page 0 of journal-10", "the log: record ", "(journal-10"},
		"btrfs": {"the superblock: ", "a node of the log of synced files, of generation ", "inode of journal-1"},
	} {
		t.Run(name, func(t *testing.T) {
			words, err := powerloss.Words(t.Context(), powerloss.Options{
				Limits: campaign.Limits{Dir: newDir(t)}, Subject: journal("right", right), Filesystem: filesystem(t, name), Disks: 1,
			})
			if err != nil || len(words) == 0 {
				t.Fatal(words, err)
			}
			all := strings.Join(words, "\n")
			for _, w := range want {
				if !strings.Contains(all, w) {
					t.Errorf("no request is told as %q", w)
				}
			}
			if n := strings.Count(all, "of no file"); n > len(words)/10 {
				t.Errorf("of %d requests %d are of nothing", len(words), n)
			}
			if t.Failed() {
				t.Log(all)
			}
		})
	}
}

// TestPromise makes all states of a recording: each has what was flushed, nothing
// of what came after the next flush, and the content that its key says.
func TestPromise(t *testing.T) {
	need(t)
	t.Parallel()
	made, wrong, err := powerloss.States(t.Context(), powerloss.Options{
		Limits: campaign.Limits{Dir: newDir(t)}, Subject: journal("right", right), Disks: 1,
	})
	if err != nil || len(wrong) > 0 || made < 300 {
		t.Errorf("%d states, wrong are %+v, %v", made, wrong, err)
	}
}
