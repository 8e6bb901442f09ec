//go:build linux

package experiment

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"syscall"
)

// The seams for the tests of package experiment_test.

// CheckMeasurement checks a measurement that is given as a Result's JSON has it.
func CheckMeasurement(name string, measured []byte) (Verdict, []string, error) {
	m := map[string]measurement{
		"sigkill": &sigkillMeasured{}, "sigbus": &sigbusMeasured{}, "folio": &folioMeasured{},
		"torn": &tornMeasured{}, "lazy": &lazyMeasured{}, "warm": &warmMeasured{},
		"hints": &hintsMeasured{}, "thrash": &thrashMeasured{}, "evict": &evictMeasured{},
		"fsyncgate": &gateMeasured{}, "stale-cache": &staleMeasured{},
	}[name]
	if err := json.Unmarshal(measured, m); err != nil {
		return "", nil, err
	}
	v, why := verdictOn(m)
	return v, why, nil
}

// scriptedMeasured is a measurement that comes to what its letter says: e as
// expected, d differs, n too noisy.
type scriptedMeasured byte

func (m scriptedMeasured) check() complaints {
	var c complaints
	c.unless(m != 'd', "a contradiction")
	c.quiet(m != 'n', "a disturbance")
	return c
}

func (m scriptedMeasured) table() table { return table{Rows: [][]string{{string(m)}}} }

// Scripted returns an experiment that finds one thing after the other: c that it
// cannot run, N noise that leaves no measurement, and the letters of
// scriptedMeasured.
func Scripted(found string) Experiment {
	return Experiment{Name: "scripted", measure: func(context.Context, *lab) (measurement, error) {
		letter := found[0]
		found = found[1:]
		switch letter {
		case 'c':
			return nil, cannot("no such thing")
		case 'N':
			return nil, &noisyError{"no space"}
		}
		return scriptedMeasured(letter), nil
	}}
}

// RoleEnv is the variable that makes a process a child.
const RoleEnv = roleEnv

// ParseSignal is parseSignal.
func ParseSignal(words string, base uint64) (kind string, code int, offset int64, err error) {
	o, err := parseSignal([]byte(words), base)
	return o.Kind, o.Code, o.Offset, err
}

// CgroupPlaces returns the directories and limit files of cgroupPlaces.
func CgroupPlaces(own, mounts string) (places []string) {
	for _, p := range cgroupPlaces(own, mounts) {
		places = append(places, p.dir+" "+p.limit)
	}
	return places
}

// MakeMemoryGroup makes a cgroup in a directory that stands for a cgroup's.
func MakeMemoryGroup(dir string, v2 bool, limit int64) (string, error) {
	g, err := cgroupPlace{dir: dir, limit: "limit", v2: v2}.make(limit)
	if err != nil {
		return "", err
	}
	return g.dir, nil
}

// Sweep removes the cgroups in a directory whose processes are gone.
func Sweep(dir string) { cgroupPlace{dir: dir}.sweep() }

// CgroupName returns the name of a cgroup that a process has made.
func CgroupName(pid string) string { return cgroupPrefix + pid + "-1" }

// MountExt4 mounts a small ext4 on dir, from a loop device over a file.
func MountExt4(dir, image string) error {
	return mountFailing(&sigbusStage{Dir: dir, Image: image})
}

// PrivateMounts is privateMounts.
func PrivateMounts(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	privateMounts(cmd)
}

// Children returns the processes that play a role in an experiment below dir.
func Children(dir string) (pids []string, err error) {
	names, err := os.ReadDir("/proc")
	for _, e := range names {
		env, rerr := os.ReadFile("/proc/" + e.Name() + "/environ")
		if rerr == nil && bytes.Contains(env, []byte(roleEnv+"=")) && bytes.Contains(env, []byte(dir)) {
			pids = append(pids, e.Name())
		}
	}
	return pids, err
}
