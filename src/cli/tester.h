/*
 * `tandem test`: busted for the specs of a policy, with the modules of this
 * very build or installation.
 */
#ifndef CLI_TESTER_H
#define CLI_TESTER_H

/* Becomes an interpreter of Lua 5.4 that runs busted with these arguments, in
 * the working directory. `lua_dir` holds tandem/, `lib_dir` is where the C
 * module was installed; one beside the program goes first. Returns only when it
 * cannot, with an exit code, after it has said why. */
int tester_run(const char *lua_dir, const char *lib_dir, int argc,
	       char *const *argv);

#endif
