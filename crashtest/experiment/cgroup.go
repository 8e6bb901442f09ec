//go:build linux

package experiment

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// cgroupPrefix is what the names of our cgroups begin with; the process that made
// it follows.
const cgroupPrefix = "seawall-thrash-"

// memoryGroup is a cgroup, of version 1 or 2, that limits the memory of the
// processes in it, their part of the page cache included.
type memoryGroup struct{ dir string }

// newMemoryGroup makes a cgroup below this process's own, or as near to it as
// this user may.
func newMemoryGroup(limit int64) (*memoryGroup, error) {
	own, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return nil, cannot("there are no cgroups: %v", err)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, cannot("mounts cannot be listed: %v", err)
	}
	places := cgroupPlaces(string(own), string(mounts))
	if len(places) == 0 {
		return nil, cannot("no cgroup filesystem with the memory controller is mounted")
	}
	var why error
	for _, p := range places {
		g, err := p.make(limit)
		if err == nil {
			return g, nil
		}
		if why == nil {
			why = err
		}
	}
	return nil, cannot("no memory cgroup can be made (that needs root, or a delegated cgroup v2): %v", why)
}

// cgroupPlace is a directory where a memory cgroup may be made.
type cgroupPlace struct {
	dir   string
	limit string // name of the file with the limit
	v2    bool
}

// cgroupPlaces returns where a process may make a memory cgroup, best first, by
// its /proc/self/cgroup and /proc/self/mountinfo.
func cgroupPlaces(own, mounts string) []cgroupPlace {
	var places []cgroupPlace
	for line := range strings.Lines(own) {
		parts := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(parts) != 3 {
			continue
		}
		switch {
		case slices.Contains(strings.Split(parts[1], ","), "memory"):
			if dir, _ := cgroupDir(mounts, "cgroup", "memory", parts[2]); dir != "" {
				places = append(places, cgroupPlace{dir: dir, limit: "memory.limit_in_bytes"})
			}
		case parts[0] == "0" && parts[1] == "":
			// A cgroup of version 2 that has processes hands no controller on: one
			// of those above it does.
			dir, root := cgroupDir(mounts, "cgroup2", "", parts[2])
			for ; dir != "" && strings.HasPrefix(dir, root); dir = filepath.Dir(dir) {
				places = append(places, cgroupPlace{dir: dir, limit: "memory.max", v2: true})
			}
		}
	}
	return places
}

// cgroupDir returns the directory of a cgroup and where its hierarchy is mounted.
func cgroupDir(mounts, kind, controller, path string) (dir, root string) {
	for line := range strings.Lines(mounts) {
		// Documentation/filesystems/proc.rst, 3.5: ID parent device root mount
		// options [optional...] - kind source options.
		before, after, _ := strings.Cut(strings.TrimSpace(line), " - ")
		fields, end := strings.Fields(before), strings.Fields(after)
		if len(fields) < 5 || len(end) < 3 || end[0] != kind {
			continue
		}
		if controller != "" && !slices.Contains(strings.Split(end[2], ","), controller) {
			continue
		}
		if rel, err := filepath.Rel(fields[3], path); err == nil && !strings.HasPrefix(rel, "..") {
			return filepath.Join(fields[4], rel), fields[4]
		}
		return fields[4], fields[4]
	}
	return "", ""
}

// make makes the cgroup and sets its limit.
func (p cgroupPlace) make(limit int64) (*memoryGroup, error) {
	if p.v2 {
		enabled, err := os.ReadFile(filepath.Join(p.dir, "cgroup.subtree_control"))
		if err != nil {
			return nil, err
		}
		if !slices.Contains(strings.Fields(string(enabled)), "memory") {
			return nil, fmt.Errorf("%s hands the memory controller on to nobody", p.dir)
		}
	}
	p.sweep()
	dir, err := os.MkdirTemp(p.dir, fmt.Sprintf("%s%d-", cgroupPrefix, os.Getpid()))
	if err != nil {
		return nil, err
	}
	g := &memoryGroup{dir}
	if err = os.WriteFile(filepath.Join(dir, p.limit), []byte(strconv.FormatInt(limit, 10)), 0); err != nil {
		return nil, errors.Join(err, g.remove())
	}
	return g, nil
}

// sweep removes the cgroups of processes that were killed before they could do it
// themselves.
func (p cgroupPlace) sweep() {
	old, err := filepath.Glob(filepath.Join(p.dir, cgroupPrefix+"*"))
	if err != nil {
		return
	}
	for _, dir := range old {
		text, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(dir), cgroupPrefix), "-")
		pid, err := strconv.Atoi(text)
		if err == nil && errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
			_ = os.Remove(dir) // it may be in use after all
		}
	}
}

// enter moves a process into the cgroup. What it used before stays charged to
// where it was.
func (g *memoryGroup) enter(pid int) error {
	return os.WriteFile(filepath.Join(g.dir, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0)
}

// remove removes the cgroup. A process that was in it may still be ending.
func (g *memoryGroup) remove() error {
	var err error
	for range 6000 { // a minute
		if err = os.Remove(g.dir); !errors.Is(err, syscall.EBUSY) {
			return err
		}
		time.Sleep(10 * time.Millisecond)
	}
	return err
}

// MayLimitMemory returns nil if this process may make a cgroup that limits memory, and
// why not otherwise. It makes one and removes it again.
func MayLimitMemory() error {
	g, err := newMemoryGroup(64 << 20)
	if err != nil {
		return err
	}
	return g.remove()
}
