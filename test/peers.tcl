# peers.tcl - other processes that work on a log at the same time: the sqlite3 shell, Tcl, Python.
#
#     peer NAME KIND ?-db FILE? ?-as WORDS? ?SQL?   start one; KIND is shell, tcl or python. WORDS
#                              go before its command. SQL is asked at once, and has to succeed
#     ask NAME SQL             what it answers: {0 VALUES} or {1 MESSAGE CODE}
#     asked NAME SQL           the values; an error is one
#     send NAME SQL            ask, and not wait for the answer
#     hear NAME                the answer to what was sent
#     is_silent NAME           whether it has not answered so far
#     cursor NAME SQL          (python) begin a SELECT; step NAME: the rest of its rows
#     leave NAME ...           they close their database and end
#     kill9 NAME ...           they are killed
#
# A peer runs the statements of one line; it stops at the first that fails. Values are without line
# breaks, NULL is an empty one. The error code is SQLite's primary one.

namespace eval peers {
  variable pipe
  array set pipe {}

  write_bytes peer.tcl {
    package require sqlite3
    lassign $argv lib file
    sqlite3 db $file
    db enable_load_extension 1
    db eval {SELECT load_extension($lib)}
    fconfigure stdout -buffering line
    while {[gets stdin sql] >= 0} {
      set code [catch {db eval $sql} text]
      if {$code} { puts [list 1 $text [db errorcode]] } else { puts [list 0 $text] }
    }
    db close
  }

  write_bytes peer.py {
import sqlite3, sys
lib, path = sys.argv[1:]
db = sqlite3.connect(path, isolation_level=None, timeout=0)
db.enable_load_extension(True)
db.load_extension(lib)

def quoted(value):
    text = '' if value is None else str(value)
    for c in '\\"$[]{}':
        text = text.replace(c, '\\' + c)
    return '"' + text + '"'

def values(rows):
    return '0 {' + ' '.join(quoted(v) for row in rows for v in row) + '}'

def statements(line):
    part = ''
    for piece in line.split(';'):
        part += piece + ';'
        if sqlite3.complete_statement(part):
            if part.strip('; '):
                yield part
            part = ''

cursor = None
for line in iter(sys.stdin.readline, ''):
    line = line.rstrip('\n')
    try:
        if line == 'step':
            answer = values(cursor.fetchall())
        elif line.startswith('cursor '):
            cursor = db.cursor()
            cursor.execute(line[7:])
            answer = '0 {}'
        else:
            rows = []
            for sql in statements(line):
                rows += db.execute(sql).fetchall()
            answer = values(rows)
    except sqlite3.Error as e:
        answer = '1 %s %d' % (quoted(e), getattr(e, 'sqlite_errorcode', 0) & 255)
    print(answer, flush=True)
cursor = None
db.close()
}
}

proc peer {name kind args} {
  set file :memory:
  set as {}
  while {[string match -* [lindex $args 0]]} {
    set args [lassign $args option value]
    if {$option eq "-db"} { set file $value } else { set as $value }
  }
  set lib [file rootname $tester::lib]
  switch $kind {
    shell { set command [list $tester::sqlite3 -batch -init /dev/null $file] }
    tcl { set command [list [info nameofexecutable] peer.tcl $lib $file] }
    python { set command [list $tester::python peer.py $lib $file] }
  }
  set peers::pipe($name) [open [list | {*}$as {*}$command 2>@1] r+]
  set peers::kind($name) $kind
  fconfigure $peers::pipe($name) -buffering line -encoding utf-8
  if {$kind eq "shell"} {
    puts $peers::pipe($name) ".load $lib\n.mode tcl\n.nullvalue \"\"\n.bail off"
  }
  # One that still opens a file of others would find it locked by what they do next.
  if {$file ne ":memory:"} { asked $name {SELECT 1} }
  foreach sql $args { asked $name $sql }
}

proc send {name sql} {
  set sql [string map {\n " "} $sql]
  if {$peers::kind($name) eq "shell"} { append sql ";\n.print \x01" }
  puts $peers::pipe($name) $sql
}

proc hear {name} {
  set pipe $peers::pipe($name)
  if {$peers::kind($name) ne "shell"} {
    if {[gets $pipe line] < 0} { error "$name has ended" }
    lassign $line failed text
    if {$failed} { return [list {*}$line] }
    return [list 0 [list {*}$text]] ;# written as Tcl writes lists
  }
  set values {}
  set failure {}
  while {[gets $pipe line] >= 0 && $line ne "\x01"} {
    if {$failure ne ""} continue
    if {[regexp {^(?:Runtime error|Parse error|Error)(?:: | )(?:near|in prepare,|stepping,).*?: (.*?)(?: \((\d+)\))?$} \
        $line - text code]} {
      set failure [list 1 $text [expr {$code eq "" ? 1 : $code}]]
    } elseif {[string match "\"*" $line]} {
      lappend values {*}$line
    } else {
      error "$name said: $line"
    }
  }
  if {[eof $pipe]} { error "$name has ended" }
  return [expr {$failure ne "" ? $failure : [list 0 $values]}]
}

proc ask {name sql} {
  send $name $sql
  return [hear $name]
}

proc asked {name sql} {
  set answer [ask $name $sql]
  if {[lindex $answer 0]} { error "$name: $sql: [lrange $answer 1 end]" }
  return [lindex $answer 1]
}

proc is_silent {name} {
  set pipe $peers::pipe($name)
  fconfigure $pipe -blocking 0
  set got [read $pipe 1]
  fconfigure $pipe -blocking 1
  return [expr {$got eq ""}]
}

proc cursor {name sql} { asked $name "cursor $sql" }
proc step {name} { asked $name step }

proc leave {args} {
  foreach name $args {
    close $peers::pipe($name) write
    read $peers::pipe($name)
    catch {close $peers::pipe($name)}
    unset peers::pipe($name)
  }
}

proc kill9 {args} {
  foreach name $args {
    signal KILL [pid $peers::pipe($name)]
    read $peers::pipe($name)
    catch {close $peers::pipe($name)}
    unset peers::pipe($name)
  }
}
