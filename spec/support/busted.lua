-- busted, in the interpreter that runs this file. Debian's `busted` command
-- starts in Lua 5.1 and then runs a second one through a shell; with the
-- sanitiser preloaded that would be three processes instead of one.
package.path = "./spec/?.lua;" .. package.path
table.insert(arg, 1, "--ignore-lua")
table.insert(arg, 1, "--output=support.tally")
require "busted.runner" { standalone = false }
