//go:build linux

package blockdev

import "slices"

// KeyOfBytes returns the key of a content of a disk that was empty.
func KeyOfBytes(p []byte) (key uint64) {
	n := int64(0)
	for sector := range slices.Chunk(p, SectorBytes) {
		key ^= SectorSum(n, sector)
		n++
	}
	return key
}

// SumOf returns a sum of all that was written.
func SumOf(r *Recording) (sum uint64) {
	for i := range r.Events {
		for _, s := range r.Events[i].Sums {
			sum = sum*31 + s
		}
	}
	return sum
}

// ServerOf returns the server of the lab in a directory.
func ServerOf(lab string) int { return serverOf(lab) }

// LabPrefix begins the names of labs.
const LabPrefix = labPrefix

// Attached returns the files of all loop devices.
func Attached() (files []string) {
	for _, l := range attachedLoops() {
		files = append(files, l.file)
	}
	return files
}
