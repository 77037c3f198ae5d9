# lib.tcl - what all benchmarks are made of: subjects that are measured in turn, and what they said.
#
#     subject NAME PROGRAM ARG...    start a program of bench.h in a new folder; it stays open
#     ask NAME ROUND                 have it do a round, for instance {get count=1000}; its figures
#     in_turn N ROUND NAMES          N times each of them, A B A B ...
#     dismiss NAMES                  end them and remove their folders
#     figures CASE NAME FIGURE       what was measured, a value for each round
#     median CASE NAME FIGURE        the middle of it
#     note CASE NAME ROUND FIGURES   put figures in from elsewhere
#
# A case is the name of what is compared, by default the first word of the round. Every figure of every
# round is a line of the CSV file: target,case,subject,round,figure,value.

namespace eval lib {
  variable pipes      ;# name -> channel
  variable folders    ;# name -> folder
  variable samples    ;# target,case,name,figure -> list of values
  variable csv ""
  variable target ""
  variable serial 0
}
array set lib::pipes {}
array set lib::folders {}
array set lib::samples {}

proc say {text} {
  puts stderr [format "bench: %5.1f s  %s" [expr {([clock milliseconds] - $::started) / 1000.0}] $text]
}

# The size for a full run, a quick one and one that only shows that it works.
proc size {full quick tiny} { return [dict get [list full $full quick $quick tiny $tiny] $::mode] }

proc rounds {{full 5}} { return [size $full 3 1] }

proc fresh_folder {name} {
  set folder [file join $::folder $lib::target-$name-[incr lib::serial]]
  file delete -force $folder
  file mkdir $folder
  return $folder
}

proc program {name} { return [file join $::build bench $name] }

# Whether a peer is there; who asks says so in the table if it is not.
proc has_program {name} { return [file executable [program $name]] }

proc sql {name} { return [list run_sql [file join $::top bench sql $name.sql]] }

# Figures as the programs print them: WORD NAME=VALUE ...
proc parse_figures {line} {
  set figures {}
  foreach word [lrange [split $line] 1 end] {
    regexp {^([^=]+)=(.*)$} $word -> name value
    dict set figures $name $value
  }
  return $figures
}

proc read_answer {name expected} {
  set line [gets $lib::pipes($name)]
  if {![string match "$expected *" $line]} {
    catch {close $lib::pipes($name)} message
    error "$lib::target: $name: '$line' $message"
  }
  return [parse_figures $line]
}

# With -folder as the first argument the subject works in an existing folder.
proc subject {name program args} {
  if {[lindex $args 0] eq "-folder"} {
    set args [lassign $args - folder]
  } else {
    set folder [fresh_folder $name]
  }
  set command [list [program [lindex $program 0]] {*}[lrange $program 1 end] --folder $folder {*}$args]
  set lib::folders($name) $folder
  set lib::pipes($name) [open |[list {*}$command 2>@stderr] r+]
  fconfigure $lib::pipes($name) -buffering line
  set figures [read_answer $name ready]
  note start $name 0 $figures
  return $figures
}

proc note {case name round figures} {
  dict for {figure value} $figures {
    lappend lib::samples($lib::target,$case,$name,$figure) $value
    puts $lib::csv "$lib::target,$case,$name,$round,$figure,$value"
  }
}

proc ask {name round {case ""} {number 0}} {
  set operation [lindex $round 0]
  puts $lib::pipes($name) $round
  set figures [read_answer $name $operation]
  note [expr {$case eq "" ? $operation : $case}] $name $number $figures
  return $figures
}

proc in_turn {count round names {case ""}} {
  for {set i 1} {$i <= $count} {incr i} {
    foreach name $names { ask $name $round $case $i }
  }
}

# Where a subject works, kept when it ends.
proc folder_of {name} { return $lib::folders($name) }

proc dismiss {names {keep 0}} {
  foreach name $names {
    close $lib::pipes($name)
    if {!$keep} { file delete -force $lib::folders($name) }
    unset lib::pipes($name)
  }
}

proc dismiss_all {} {
  foreach name [array names lib::pipes] { catch {dismiss $name} }
}

proc figures {case name figure} { return $lib::samples($lib::target,$case,$name,$figure) }

proc has_figures {case name figure} { return [info exists lib::samples($lib::target,$case,$name,$figure)] }

proc median_of {values} {
  set sorted [lsort -real $values]
  set n [llength $sorted]
  if {$n % 2} { return [lindex $sorted [expr {$n / 2}]] }
  return [expr {([lindex $sorted [expr {$n / 2 - 1}]] + [lindex $sorted [expr {$n / 2}]]) / 2.0}]
}

proc median {case name figure} { return [median_of [figures $case $name $figure]] }
