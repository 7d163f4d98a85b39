import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useState, type SubmitEvent } from "react";
import { useParams } from "react-router";
import { ApiError } from "@/api/http";
import { addMember, changeRole, membersQuery, removeMember } from "@/api/orgs";
import { useMe, useOrg } from "@/api/session";
import type { Member, MemberAdded, Role } from "@/api/types";
import { formatDay } from "@/lib/times";
import { Button } from "@/ui/Button";
import { Dialog } from "@/ui/Dialog";
import { Icon } from "@/ui/Icon";
import { CopyButton, ErrorNote, Skeleton } from "@/ui/Notes";
import { PageFrame } from "@/ui/PageFrame";
import { say, sayError } from "@/ui/toasts";
import "./org.css";

const roles: readonly (readonly [Role, string])[] = [
  ["viewer", "reads"],
  ["member", "submits and stops runs"],
  ["admin", "manages members, projects, leaderboards"],
  ["owner", "changes roles of administrators"],
];

export function MembersPage() {
  const { org = "" } = useParams();
  const client = useQueryClient();
  const me = useMe();
  const may = useOrg(org)?.can.includes("member.manage") === true;
  const members = useQuery(membersQuery(org));
  const [leaving, leave] = useState<Member | null>(null);
  const [added, setAdded] = useState<MemberAdded | null>(null);
  const refresh = (): void => void client.invalidateQueries({ queryKey: ["members", org] });
  return (
    <PageFrame title="Members">
      <div className="page-body">
        {may && (
          <AddMember
            org={org}
            onAdded={(member) => {
              setAdded(member);
              refresh();
            }}
          />
        )}
        {added !== null && <FirstPassword member={added} onClose={() => setAdded(null)} />}
        {members.isPending && <Skeleton />}
        {members.isError && <ErrorNote error={members.error} retry={() => void members.refetch()} />}
        {members.data !== undefined && (
          <div className="card table-scroll">
            <table className="table" aria-label="Members">
              <thead>
                <tr>
                  <th scope="col">Name</th>
                  <th scope="col">E-mail</th>
                  <th scope="col">Role</th>
                  <th scope="col">Since</th>
                  <th scope="col">
                    <span className="visually-hidden">Actions</span>
                  </th>
                </tr>
              </thead>
              <tbody>
                {members.data.items.map((member) => (
                  <tr key={member.user}>
                    <td>
                      <b>{member.name === "" ? "–" : member.name}</b>
                      {member.user === me?.user.id && <span className="quiet"> you</span>}
                    </td>
                    <td className="second">{member.email}</td>
                    <td>
                      {may ? (
                        <RoleSelect
                          value={member.role}
                          label={`Role of ${member.email}`}
                          onChange={(role) => {
                            changeRole(org, member.user, role)
                              .then(() => say(`${member.email} is now ${role}.`))
                              .catch(sayError)
                              .finally(refresh);
                          }}
                        />
                      ) : (
                        member.role
                      )}
                    </td>
                    <td className="second">{formatDay(member.created_at)}</td>
                    <td className="number">
                      {may && (
                        <Button small look="quiet" onClick={() => leave(member)}>
                          Remove
                        </Button>
                      )}
                    </td>
                  </tr>
                ))}
              </tbody>
            </table>
          </div>
        )}
        <p className="second">
          {roles.map(([role, does]) => `${role}: ${does}`).join("; ")}. Each also does what the ones before it
          do.
        </p>
      </div>
      {leaving !== null && (
        <Dialog
          title={`Remove ${leaving.email}?`}
          onClose={() => leave(null)}
          actions={
            <>
              <Button onClick={() => leave(null)}>Keep</Button>
              <Button
                look="danger"
                onClick={() => {
                  removeMember(org, leaving.user)
                    .then(() => say(`${leaving.email} was removed.`))
                    .catch(sayError)
                    .finally(refresh);
                  leave(null);
                }}
              >
                Remove the member
              </Button>
            </>
          }
        >
          <p>Access ends at once, tokens included. Runs stay.</p>
        </Dialog>
      )}
    </PageFrame>
  );
}

function RoleSelect({
  value,
  label,
  onChange,
  id,
}: {
  value: Role;
  label: string;
  onChange: (role: Role) => void;
  id?: string;
}) {
  return (
    <span className="select-frame role-select">
      <select
        id={id}
        className="select"
        aria-label={label}
        value={value}
        onChange={(event) => onChange(event.target.value as Role)}
      >
        {roles.map(([role]) => (
          <option key={role}>{role}</option>
        ))}
      </select>
      <Icon name="chevronDown" size={14} />
    </span>
  );
}

function AddMember({ org, onAdded }: { org: string; onAdded: (member: MemberAdded) => void }) {
  const [email, setEmail] = useState("");
  const [role, setRole] = useState<Role>("member");
  const [error, setError] = useState<unknown>(null);
  const submit = (event: SubmitEvent): void => {
    event.preventDefault();
    addMember(org, { email: email.trim(), role })
      .then((member) => {
        setEmail("");
        setError(null);
        onAdded(member);
      })
      .catch((failure: unknown) => setError(failure));
  };
  const said =
    error instanceof ApiError ? (error.fields["email"] ?? error.fields["role"] ?? error.message) : null;
  return (
    <form className="org-add" onSubmit={submit} noValidate>
      <label className="org-add-wide">
        <span>E-mail of a new member</span>
        <input
          className="input"
          type="email"
          value={email}
          aria-invalid={said !== null}
          onChange={(event) => setEmail(event.target.value)}
        />
      </label>
      <label>
        <span>Role</span>
        <RoleSelect value={role} label="Role" onChange={setRole} />
      </label>
      <Button type="submit" look="primary">
        Add member
      </Button>
      {said !== null && (
        <p className="bad-text org-add-error" role="alert">
          {said}
        </p>
      )}
    </form>
  );
}

function FirstPassword({ member, onClose }: { member: MemberAdded; onClose: () => void }) {
  const { password } = member;
  if (password === null || password === undefined) return null;
  return <Secret title={`First password of ${member.email}`} secret={password} onClose={onClose} />;
}

/** Something that the server shows once. */
export function Secret({ title, secret, onClose }: { title: string; secret: string; onClose: () => void }) {
  return (
    <section className="card secret" role="status">
      <h3>{title}</h3>
      <p className="second">It is shown this once. Copy it now and keep it where secrets are kept.</p>
      <div className="row">
        <code className="secret-text">{secret}</code>
        <CopyButton text={secret} label="Copy" />
        <span className="spacer" />
        <Button small onClick={onClose}>
          I have it
        </Button>
      </div>
    </section>
  );
}
