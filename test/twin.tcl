# twin.tcl - a kvstore table beside an ordinary one, which says what is right.
#
# `db` has the table kv as a kvstore, `ref`, a connection to a memory database, has it as
#
#     CREATE TABLE kv(key TEXT PRIMARY KEY NOT NULL, value) WITHOUT ROWID
#
# so that both run the same statements, literally, and errors have the same text.
#
#     open_twins ?ARGUMENTS? ?DATABASE?   begin anew; ARGUMENTS are those of kvstore(...)
#     both SQL                            run a script in both: {OUTCOME-OF-DB OUTCOME-OF-REF}
#     do_twin_test NAME SQL               both have the same outcome and the same rows afterwards
#     close_twins
#
# An outcome is {code values-or-message error-code changes total-changes autocommit}; the error
# code is the primary one.

proc open_twins {{arguments {}} {database :memory:}} {
  close_twins
  reset_db $database
  db eval "CREATE VIRTUAL TABLE kv USING kvstore($arguments)"
  sqlite3 ref :memory:
  ref eval {CREATE TABLE kv(key TEXT PRIMARY KEY NOT NULL, value) WITHOUT ROWID}
  db nullvalue NULL
  ref nullvalue NULL
}

proc close_twins {} {
  catch {db close}
  catch {ref close}
}

namespace eval twin {
  proc outcome {db sql} {
    set before [$db total_changes]
    set code [catch {uplevel 2 [list $db eval $sql]} result]
    set error [expr {$code ? [$db errorcode] & 0xff : 0}]
    set changed [expr {[$db total_changes] - $before}]
    return [list $code $result $error [$db changes] $changed [$db eval {SELECT 1}]]
  }

  # Rows in the order of the table, their values with type and bytes.
  proc rows {db} {
    return [$db eval {SELECT key, typeof(value), hex(value) FROM kv ORDER BY key}]
  }

  # The rows of a that b does not have, or `no row more`, cut to what can be read.
  proc missing {a b} {
    set has [dict create]
    foreach {key type value} $b { dict set has [list $key $type $value] 1 }
    set out {}
    foreach {key type value} $a {
      if {![dict exists $has [list $key $type $value]]} { lappend out "$key $type $value" }
    }
    return [expr {[llength $out] ? [string range [join $out \n] 0 2000] : "no row more"}]
  }
}

proc both {sql} {
  return [list [twin::outcome db $sql] [twin::outcome ref $sql]]
}

proc do_twin_test {name sql} {
  lassign [uplevel 1 [list both $sql]] got expected
  tester::report $name [expr {$got eq $expected}] "$expected\n$sql" $got
  set got [twin::rows db]
  set expected [twin::rows ref]
  tester::report $name-rows [expr {$got eq $expected}] \
      "[twin::missing $expected $got]\n$sql" [twin::missing $got $expected]
}
