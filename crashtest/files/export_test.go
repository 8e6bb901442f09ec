//go:build linux

package files

import "math"

// MustStay reports whether a name has to be there after a sync of its directory that began at 10,
// saw it, and returned at 20, beside an unlink that was asked for and done at these moments; 0 is
// not done.
func MustStay(asked, done int) bool {
	n := &inode{}
	j := &journal{names: []naming{
		{at: 1, what: synced, path: "f", inode: n},
		{at: asked, ended: done, what: taken, path: "f", over: n},
		{at: 20, what: settled, path: ".", began: 10, names: map[string]*inode{"f": n}},
	}}
	w := j.want(math.MaxInt)["f"]
	return w != nil && w.Must
}
