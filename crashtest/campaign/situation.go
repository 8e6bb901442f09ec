//go:build linux

package campaign

// Situations is a Subject whose lives come to situations of their own, which a
// campaign has to come to, too: it counts the states of each.
type Situations interface {
	Subject

	// Situations returns their names. A subject may have none.
	Situations() []string
}

// Situated is a Known that says in which situation it is known.
type Situated interface {
	// Situation returns the index of its name; below 0 it is none.
	Situation() int
}

// SituationOf returns the name of the situation in which a subject's Known is
// known; empty is none.
func SituationOf(s Subject, k Known) string {
	names, ok := s.(Situations)
	at, is := k.(Situated)
	if !ok || !is {
		return ""
	}
	list, i := names.Situations(), at.Situation()
	if i < 0 || i >= len(list) {
		return ""
	}
	return list[i]
}
