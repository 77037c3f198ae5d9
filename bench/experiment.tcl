#!/usr/bin/tclsh
# experiment.tcl - the experiment by itself, in a few seconds: what fsync costs, and how much of it group
# commit gives back.
#
#     experiment.tcl FOLDER SYNCHRONOUS CONNECTIONS SECONDS GROUP_SIZE ...
#
# Autocommit INSERTs of `goober` under random keys out of 100 x 100, from so many connections, SECONDS for
# all five rounds of a size. Prints medians, and the ratio to the first size.

set started [clock milliseconds]
set top [file dirname [file dirname [file normalize [info script]]]]
set mode full
set build [file join $top [expr {[info exists env(BUILD)] ? $env(BUILD) : "build/release"}]]
foreach file {lib report targets} { source [file join $top bench $file.tcl] }
if {![info exists env(KVSTORE_LIB)]} { set env(KVSTORE_LIB) [file join $top kvstore.so] }

set sizes [lassign $argv folder synchronous connections seconds]
set lib::csv [open /dev/null w]
set names {}
foreach size $sizes {
  experiment g$size $synchronous $size --threads $connections
  lappend names g$size
}
in_turn 5 "insert seconds=[expr {$seconds / 5.0}]" $names
dismiss $names

set first [median insert g[lindex $sizes 0] rate]
set lines {}
foreach size $sizes {
  set rate [median insert g$size rate]
  lappend lines [list $size [grouped $rate] [format %.1f [expr {1 / max(1e-9, [flushes_per_commit g$size])}]] \
    "[ratio_text [expr {$rate / $first}]] x"]
}
puts [text_table {group_size inserts/s "commits per flush" ratio} $lines]
