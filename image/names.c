/* A service of nsswitch.conf(5) that gives a process's own uid and gid a name where /etc/passwd and
   /etc/group have none. ssh refuses to run without one, and git, whoami and bash's prompt ask for
   it. A container that is not started as root, or is read-only, can write no line there.

   Other uids get no name: what root or a daemon asks for is in the files alone. A process with
   more rights than its caller (sudo) takes nothing from the environment. */

#define _GNU_SOURCE
#include <errno.h>
#include <grp.h>
#include <nss.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

/* Copies a text to the buffer and moves the buffer's beginning; NULL: it has no room. */
static char *copy(char **buffer, size_t *size, const char *text)
{
    char *start = *buffer;
    size_t length = strlen(text) + 1;
    if (length > *size)
        return NULL;
    *buffer += length;
    *size -= length;
    return memcpy(start, text, length);
}

static char *copy_numbered(char **buffer, size_t *size, unsigned id)
{
    char name[sizeof "jupyter-4294967295"];
    snprintf(name, sizeof name, "jupyter-%u", id);
    return copy(buffer, size, name);
}

/* USER is what the entrypoint has told the server, such as the name of JupyterHub's user. */
static char *own_name(char **buffer, size_t *size)
{
    const char *user = secure_getenv("USER");
    int is_name = user && *user && strchr(LETTERS, *user) &&
                  !user[strspn(user, LETTERS "0123456789_.@-")];
    return is_name ? copy(buffer, size, user) : copy_numbered(buffer, size, getuid());
}

static enum nss_status no_room(int *error)
{
    *error = ERANGE;
    return NSS_STATUS_TRYAGAIN;
}

enum nss_status _nss_ai_lab_getpwuid_r(uid_t uid, struct passwd *user, char *buffer, size_t size,
                                       int *error)
{
    const char *home = secure_getenv("HOME");
    if (uid != getuid() || uid == 0)
        return NSS_STATUS_NOTFOUND;
    if (!home || *home != '/' || !home[1] || strpbrk(home, ":\n"))
        home = "/home/jupyter";
    user->pw_name = user->pw_gecos = own_name(&buffer, &size);
    user->pw_passwd = copy(&buffer, &size, "*");
    user->pw_dir = copy(&buffer, &size, home);
    user->pw_shell = copy(&buffer, &size, "/bin/bash");
    user->pw_uid = uid;
    user->pw_gid = getgid();
    if (!user->pw_name || !user->pw_passwd || !user->pw_dir || !user->pw_shell)
        return no_room(error);
    return NSS_STATUS_SUCCESS;
}

enum nss_status _nss_ai_lab_getpwnam_r(const char *name, struct passwd *user, char *buffer,
                                       size_t size, int *error)
{
    enum nss_status status = _nss_ai_lab_getpwuid_r(getuid(), user, buffer, size, error);
    if (status == NSS_STATUS_SUCCESS && strcmp(name, user->pw_name))
        return NSS_STATUS_NOTFOUND;
    return status;
}

enum nss_status _nss_ai_lab_getgrgid_r(gid_t gid, struct group *group, char *buffer, size_t size,
                                       int *error)
{
    static char *nobody[] = {NULL};
    if (gid != getgid() || gid == 0)
        return NSS_STATUS_NOTFOUND;
    group->gr_name = copy_numbered(&buffer, &size, gid);
    group->gr_passwd = copy(&buffer, &size, "*");
    group->gr_gid = gid;
    group->gr_mem = nobody;
    return group->gr_name && group->gr_passwd ? NSS_STATUS_SUCCESS : no_room(error);
}

enum nss_status _nss_ai_lab_getgrnam_r(const char *name, struct group *group, char *buffer,
                                       size_t size, int *error)
{
    enum nss_status status = _nss_ai_lab_getgrgid_r(getgid(), group, buffer, size, error);
    if (status == NSS_STATUS_SUCCESS && strcmp(name, group->gr_name))
        return NSS_STATUS_NOTFOUND;
    return status;
}
