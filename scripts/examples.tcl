#!/usr/bin/tclsh
# examples.tcl - runs the sqlite3 sessions that a document shows, and compares what they print.
#
#     examples.tcl EXTENSION FOLDER DOCUMENT ...           print the differences, exit 1 if there are any
#     examples.tcl --write EXTENSION FOLDER DOCUMENT ...   put what was printed into the documents
#
# A session is what stands in indented blocks behind `sqlite> ` (and `   ...> ` where a statement goes
# on); the lines that follow are its output. All sessions of a document are one, in a database app.db
# in an empty FOLDER, with the extension loaded. Other indented lines are left alone.

set prompt "    sqlite> "
set more   "       ...> "

# A document as a list of {line TEXT} and {statement SQL EXPECTED-LINES}.
proc parse {text} {
  global prompt more
  set parts {}
  set lines [split $text \n]
  for {set i 0} {$i < [llength $lines]} {incr i} {
    set line [lindex $lines $i]
    if {[string range $line 0 11] ne $prompt} {
      lappend parts [list line $line]
      continue
    }
    set sql [list [string range $line 12 end]]
    while {[string range [lindex $lines $i+1] 0 11] eq $more} {
      lappend sql [string range [lindex $lines [incr i]] 12 end]
    }
    set output {}
    while {$i + 1 < [llength $lines]} {
      set next [lindex $lines $i+1]
      if {[string range $next 0 3] ne "    " || [string range $next 0 11] eq $prompt} break
      lappend output [string range $next 4 end]
      incr i
    }
    lappend parts [list statement $sql $output]
  }
  return $parts
}

# Run the statements in one shell; a list of the lines that each printed.
proc run {extension folder parts} {
  file delete -force $folder
  file mkdir $folder
  set script ".load $extension\n.bail off\n"
  foreach part $parts {
    if {[lindex $part 0] eq "statement"} { append script [join [lindex $part 1] \n] "\n.print \x01\n" }
  }
  set here [pwd]
  cd $folder
  set shell [expr {[info exists ::env(SQLITE3)] ? $::env(SQLITE3) : "sqlite3"}]
  catch {exec $shell -batch app.db << $script 2>@1} printed
  cd $here
  # The shell counts the lines of a script, which nobody sees at a prompt.
  regsub -all {(Runtime error|Parse error) near line \d+: } $printed {\1: } printed
  set outputs {}
  foreach chunk [split $printed \x01] {
    set chunk [string trimright [regsub {^\n} $chunk {}] \n]
    lappend outputs [expr {$chunk eq "" ? {} : [split $chunk \n]}]
  }
  return $outputs
}

set write [expr {[lindex $argv 0] eq "--write"}]
if {$write} { set argv [lrange $argv 1 end] }
if {[llength $argv] < 3} { puts stderr "usage: examples.tcl ?--write? EXTENSION FOLDER DOCUMENT ..."; exit 2 }
set documents [lassign $argv extension folder]
set different 0

foreach document $documents {
  set channel [open $document]
  fconfigure $channel -encoding utf-8
  set text [read -nonewline $channel]
  close $channel
  set parts [parse $text]
  set outputs [run [file normalize $extension] [file normalize $folder] $parts]
  set at -1
  set written {}
  foreach part $parts {
    if {[lindex $part 0] eq "line"} {
      lappend written [lindex $part 1]
      continue
    }
    lassign $part - sql expected
    set got [lindex $outputs [incr at]]
    set lead $prompt
    foreach line $sql {
      lappend written $lead$line
      set lead $more
    }
    foreach line $got { lappend written "    $line" }
    if {$got ne $expected} {
      incr different
      if {!$write} { puts "$document: [join $sql { }]\n  document: [join $expected \n            ]\n  printed:  [join $got \n            ]" }
    }
  }
  if {$write} {
    set channel [open $document w]
    fconfigure $channel -encoding utf-8
    puts $channel [join $written \n]
    close $channel
  }
}
exit [expr {$different > 0 && !$write}]
