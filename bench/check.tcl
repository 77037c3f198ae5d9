#!/usr/bin/tclsh
# check.tcl - how many instructions the hot paths take, beside the numbers that the repository keeps:
# `make bench-check`. They do not depend on what else the machine does, so 3 per cent more is more.
#
#     check.tcl ?PATH ...?     all paths, or those whose names match; fails if one has grown
#
# From the environment: UPDATE=1 writes new numbers; LIMIT, per cent (3); BUILD (build/release); NUMBERS,
# the file with the numbers (bench/instructions.txt).
#
# It has the versions of compiler and SQLite, and for each path its name and the
# instructions of one operation (for scans, opening and checkpoint: of one row, one record). If a
# version here differs from the file's, what has grown is told and is no failure.

set top [file dirname [file dirname [file normalize [info script]]]]
proc environment {name default} {
  return [expr {[info exists ::env($name)] && $::env($name) ne "" ? $::env($name) : $default}]
}
set build [file join $top [environment BUILD build/release]]
set numbers [environment NUMBERS [file join $top bench instructions.txt]]
set folder [file join $top [file dirname [environment BUILD build/release]] bench check]
if {![info exists env(KVSTORE_LIB)]} { set env(KVSTORE_LIB) [file join $top kvstore.so] }

# name, program and options, round, and what one operation of it counts as
set paths {
  insert_off       {run_sql experiment_kvstore --shape grid --load 0 --set synchronous=OFF --set group_size=50} {insert count=5000} 1
  insert_normal    {run_sql experiment_kvstore --shape grid --load 0 --set synchronous=NORMAL --set group_size=50} {insert count=5000} 1
  insert_full      {run_sql experiment_kvstore --shape grid --load 0 --set synchronous=FULL --set group_size=1} {insert count=1000} 1
  insert_in_transaction {run_sql load_kvstore --load 0 --keys 20000} {insert count=20000 order=each} 1
  insert_100_rows  {run_sql load_kvstore --load 0} {hundred count=100} 100
  get              {run_sql table_kvstore --keys 20000} {get count=20000} 1
  scan_row         {run_sql table_kvstore --keys 20000} {scan count=1} 20000
  subtree_100_rows {run_sql table_kvstore --keys 20000} {subtree count=200} 1
  children_10      {run_sql children --set nodes=20000} {flat count=200} 1
  engine_find      {run_engine --keys 20000} {find count=20000} 1
  engine_put_full  {run_engine --keys 20000} {put count=1000} 1
  open_record      {run_engine --keys 20000} {open count=1} 20000
  checkpoint_record {run_engine --keys 20000} {checkpoint count=1} 20000
  encode_commit    {run_engine --keys 100} {encode count=20000} 1
  crc32c_1024_bytes {run_engine --keys 100} {crc count=20000} 1
  server_request   {run_engine --keys 100} {request count=20000} 1
}

proc first_line {args} { return [lindex [split [exec {*}$args] \n] 0] }

# The compiler tells the name that it was called by; gcc and cc are one.
proc versions {} {
  return [list compiler [regsub {^gcc } [first_line {*}[environment CC cc] --version] {cc }] \
    sqlite [lindex [first_line sqlite3 --version] 0] \
    libc [lindex [first_line ldd --version] end]]
}

# Instructions of one operation, counted between entering and leaving bench_measured.
proc count_instructions {command round divisor} {
  lassign $command program
  set arguments [lrange $command 1 end]
  if {$program eq "run_sql"} {
    set arguments [lreplace $arguments 0 0 [file join $::top bench sql [lindex $arguments 0].sql]]
  }
  file delete -force $::folder
  file mkdir $::folder
  set printed [exec valgrind --tool=callgrind --toggle-collect=bench_measured \
    --callgrind-out-file=/dev/null [file join $::build bench $program] {*}$arguments --folder $::folder \
    << "$round\n" 2>@1]
  if {![regexp {Collected : (\d+)} $printed -> total]} { error "callgrind counted nothing:\n$printed" }
  regexp {count=(\d+)} $round -> count
  return [expr {double($total) / $count / $divisor}]
}

proc read_numbers {} {
  set kept {}
  if {[catch {open $::numbers} channel]} { return $kept }
  while {[gets $channel line] >= 0} {
    if {[regexp {^([a-z0-9_]+):? +(.+)$} $line -> name text]} { dict set kept $name $text }
  }
  close $channel
  return $kept
}

proc write_numbers {versions counted} {
  set channel [open $::numbers w]
  puts $channel "# Instructions of the hot paths: bench/check.tcl compares, `make bench-check UPDATE=1` writes."
  dict for {name text} $versions { puts $channel "$name: $text" }
  dict for {name count} $counted { puts $channel [format "%-22s %10.1f" $name $count] }
  close $channel
}

set kept [read_numbers]
set versions [versions]
set limit [environment LIMIT 3]
set grown {}
set counted {}
puts [format "%-22s %12s %12s %9s" path kept now growth]
foreach {name command round divisor} $paths {
  if {[llength $argv] && ![llength [lmap p $argv { if {![string match $p $name]} continue; set p }]]} continue
  set now [count_instructions $command $round $divisor]
  dict set counted $name $now
  set before [expr {[dict exists $kept $name] ? [dict get $kept $name] : ""}]
  set growth [expr {$before eq "" ? "" : [format %+.1f%% [expr {100.0 * ($now - $before) / $before}]]}]
  puts [format "%-22s %12s %12.1f %9s" $name $before $now $growth]
  flush stdout
  if {$before ne "" && $now > $before * (1 + $limit / 100.0)} { lappend grown $name }
}
file delete -force $folder

if {[environment UPDATE 0]} {
  if {[llength $argv]} { set counted [dict merge [dict remove $kept {*}[dict keys $versions]] $counted] }
  write_numbers $versions $counted
  puts "bench-check: wrote $numbers"
  exit 0
}
set others {}
dict for {name text} $versions {
  if {[dict exists $kept $name] && [dict get $kept $name] ne $text} {
    lappend others "$name: here $text, the numbers are of [dict get $kept $name]"
  }
}
if {![llength $grown]} { puts "bench-check: nothing has grown by more than $limit per cent"; exit 0 }
puts "bench-check: grown by more than $limit per cent: [join $grown {, }]"
if {[llength $others]} {
  puts "bench-check: no failure, since the numbers were counted with others: [join $others {; }]"
  exit 0
}
exit 1
