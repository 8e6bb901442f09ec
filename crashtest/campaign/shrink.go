//go:build linux

package campaign

// Shrink returns a smallest subset of the items that still fails: none of them
// can be left out. It is ddmin of Zeller and Hildebrandt ("Simplifying and
// Isolating Failure-Inducing Input", 2002), which asks fails about n*log(n)
// subsets where few items matter. fails must be true of all items; the order of
// the items is kept.
func Shrink[T any](items []T, fails func([]T) bool) []T {
	if len(items) == 0 || fails(nil) {
		return nil
	}
	for parts := 2; len(items) > 1; {
		size := (len(items) + parts - 1) / parts
		smaller := smallerBy(items, size, fails)
		switch {
		case smaller != nil && len(smaller) <= size:
			items, parts = smaller, 2
		case smaller != nil:
			items, parts = smaller, max(2, parts-1)
		case size == 1:
			return items
		default:
			parts = min(2*parts, len(items))
		}
	}
	return items
}

// smallerBy returns a part of so many items that fails, or else the items
// without such a part, if that fails, or nil.
func smallerBy[T any](items []T, size int, fails func([]T) bool) []T {
	for from := 0; from < len(items); from += size {
		if part := items[from:min(from+size, len(items))]; fails(part) {
			return part
		}
	}
	for from := 0; from < len(items); from += size {
		to := min(from+size, len(items))
		rest := append(append([]T(nil), items[:from]...), items[to:]...)
		if len(rest) > size && fails(rest) { // what is no larger than a part was asked
			return rest
		}
	}
	return nil
}
