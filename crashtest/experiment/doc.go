// Package experiment asks the kernel, on the user's own directory, about the
// behaviour that the log's promises rest on. Each Experiment states a hypothesis
// in one sentence, measures, and gives a verdict on what it counted: faults,
// bytes, pages, signals. Times are shown and never checked, because no machine is
// quiet.
//
// # Processes
//
// What must die, or live in a memory cgroup or a mount namespace of its own, is a
// child: the running program, executed again. Such a program calls BeChild first
// of all. Children die with the process that started them, mounts go with the
// namespace of the child that made them, and scratch files lie in one directory
// that the run removes.
//
// A child that mounts disks which fail (package blockdev) has a server process for
// them. It is asked to end, by SIGTERM, and takes them away; where it is killed, the
// server does.
//
// # Layout
//
// One file holds one experiment: the description, what it measures, and a check
// that is a function of the measurement alone. So a test can hand each check a
// measurement that contradicts the hypothesis.
package experiment
