//go:build linux

package seawall

import "github.com/seawall-wal/seawall/crashtest/campaign"

// Overstate returns a Mark that takes what is about to be appended for durable.
func Overstate(k campaign.Known) campaign.Known {
	m := *markOf(k)
	m.durable = max(m.durable, m.begun())
	if m.or != nil {
		or := *m.or
		or.durable = max(or.durable, or.begun())
		m.or = &or
	}
	return &m
}
