std = "lua54"
max_line_length = 100
include_files = { "**/*.lua", ".busted", ".luacheckrc", "*.rockspec" }
exclude_files = { "build" }
ignore = { "211/_ENV" } -- `local _ENV = nil` after the requires

files["spec"] = { std = "+busted" }
files["examples/*_spec.lua"] = { std = "+busted" }
files["examples/failover_spec.lua"] = { ignore = { "231/b" } } -- as in the docs
files["lua/tandem/meta"] = { ignore = { "21.", "241" } } -- declarations for editors
files[".busted"] = { std = "none" }
files[".luacheckrc"] = { std = "luacheckrc" }
files["*.rockspec"] = { std = "rockspec" }
