#!/usr/bin/tclsh
# bench.tcl - measures every target of performance beside its peers, in one run: `make bench`.
#
#     bench.tcl ?T5 T6 ...?        all targets, or these
#
# From the environment: QUICK=1 smaller sizes and 3 rounds, under two minutes; TINY=1 only whether it
# works; BUILD where the programs are (build/release); FOLDER where the data go (build/bench/data), which
# has to be on a disk: on a tmpfs a flush costs nothing, and it refuses to run unless TMPFS=1.
#
# Writes build/bench/measurements.csv (every figure of every round), table.csv and report.md (the table),
# and plots/*.svg if gnuplot is here. PUBLISH=1 puts the report and the plots into docs/.

set started [clock milliseconds]
set here [file dirname [file normalize [info script]]]
set top [file dirname $here]

proc environment {name default} {
  return [expr {[info exists ::env($name)] && $::env($name) ne "" ? $::env($name) : $default}]
}

set mode [expr {[environment TINY 0] ? "tiny" : [environment QUICK 0] ? "quick" : "full"}]
set build [file normalize [file join $top [environment BUILD build/release]]]
set out [file join $top [file dirname [environment BUILD build/release]] bench]
set out [environment OUT $out]
set folder [file normalize [environment FOLDER [file join $out data]]]
set only [join $argv]
if {![info exists env(KVSTORE_LIB)]} { set env(KVSTORE_LIB) [file join $top kvstore.so] }

foreach file {lib report head redis targets plots} { source [file join $here $file.tcl] }

proc refuse_tmpfs {} {
  set type [exec stat -f -c %T $::folder]
  if {$type ni {tmpfs ramfs}} return
  puts stderr "bench: $::folder is on a $type, where a flush costs nothing: no figure would mean anything."
  if {[environment TMPFS 0]} return
  puts stderr "bench: FOLDER=... names a folder on a disk; TMPFS=1 measures all the same."
  exit 1
}

proc measure {names} {
  foreach name $names {
    set lib::target $name
    say "$name"
    $name
    lappend ::measured $name
    # T5 and T6 share their tables, so these go when both are done.
    if {$name ni {T5} || "T6" ni $names} { set lib::target $name; close_tables }
  }
}

proc write_file {path text} {
  set channel [open $path w]
  puts $channel $text
  close $channel
}

proc table_csv {} {
  set lines [list [join $::titles ,]]
  foreach row [sorted_rows] {
    lappend lines [join [lmap text $row { string cat \" [string trim $text] \" }] ,]
  }
  return [join $lines \n]
}

proc head_text {head} {
  set lines {}
  foreach {name text} $head { lappend lines [format "%-12s %s" $name $text] }
  return [join $lines \n]
}

set report_titles {group_size inserts inserts/s ratio}
set experiment_report {}
set measured {}

# Of each group size the five counts, as the experiment's own report had them.
proc report_markdown {head plots} {
  set parts [list [markdown_table {where {}} [lmap {name text} $head { list $name $text }]]]
  lappend parts "[summary]:" [markdown_table $::titles [sorted_rows]]
  if {[llength $::experiment_report]} {
    lappend parts "The experiment, count by count (autocommit INSERTs of `goober` under random keys of 100 x 100, one\nconnection, NORMAL, all of them on stable storage when the clock stops):" \
      [markdown_table $::report_titles $::experiment_report]
  }
  foreach {name title} $plots { lappend parts "!\[$title\](plots/$name.svg)" }
  return [join $parts "\n\n"]
}

# Replaces what is between the two marks of docs/performance.md, and the plots.
proc publish {report} {
  set page [file join $::top docs performance.md]
  set channel [open $page]
  set text [read -nonewline $channel]
  close $channel
  set first "<!-- report: written by make bench PUBLISH=1 -->"
  set last "<!-- end of the report -->"
  set from [string first $first $text]
  set to [string first $last $text]
  if {$from < 0 || $to < 0} { error "$page has no place for the report" }
  write_file $page "[string range $text 0 $from-1]$first\n\n$report\n\n[string range $text $to end]"
  file mkdir [file join $::top docs plots]
  foreach plot [glob -nocomplain -directory [file join $::out plots] *.svg] {
    file copy -force $plot [file join $::top docs plots]
  }
}

proc main {} {
  set names {T1 T2 T3 T4 T5 T6 T7 T8 T9 T10 T11 T12}
  if {$::only ne ""} {
    foreach name $::only { if {$name ni $names} { error "no target $name; there are $names" } }
    set names [lsearch -all -inline -regexp $names "^([join $::only |])\$"]
  }
  file mkdir $::folder
  refuse_tmpfs
  set lib::csv [open [file join $::out measurements.csv] w]
  puts $lib::csv "target,case,subject,round,figure,value"
  set head [head_lines]
  puts [head_text $head]
  flush stdout
  measure $names
  close $lib::csv
  write_file [file join $::out table.csv] [table_csv]
  set report [report_markdown $head [draw_plots]]
  write_file [file join $::out report.md] $report
  if {[llength $::experiment_report]} { puts "\n[text_table $::report_titles $::experiment_report]" }
  puts "\n[text_table $::titles [sorted_rows]]\n\n[summary]. Every measurement: [file join $::out measurements.csv]"
  if {[environment PUBLISH 0]} { publish $report }
}

set failed [catch main message options]
dismiss_all
if {[info exists redis_pid]} { catch {redis shutdown nosave} }
file delete -force $folder
if {$failed} {
  puts stderr "bench: $message"
  if {[environment DEBUG 0]} { puts stderr [dict get $options -errorinfo] }
  exit 1
}
