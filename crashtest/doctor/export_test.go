//go:build linux

package doctor

// ExamineMachine is examine, of a machine whose files are below root.
func ExamineMachine(root string, trace, memory error) []Check {
	return machine{root}.examine(trace, memory)
}
