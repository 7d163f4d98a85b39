import { useQueryClient } from "@tanstack/react-query";
import { useState, type SubmitEvent } from "react";
import { useNavigate, useSearchParams } from "react-router";
import { signIn } from "@/api/session";
import { Button } from "@/ui/Button";
import { ErrorNote } from "@/ui/Notes";
import "./signin.css";

/** Only paths of this site are followed after sign-in. */
function safeNext(next: string | null): string {
  return next !== null && next.startsWith("/") && !next.startsWith("//") && !next.startsWith("/\\")
    ? next
    : "/";
}

export function SignInPage() {
  const [params] = useSearchParams();
  const navigate = useNavigate();
  const client = useQueryClient();
  const [error, setError] = useState<unknown>(null);
  const [busy, setBusy] = useState(false);

  const submit = (event: SubmitEvent<HTMLFormElement>): void => {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    const text = (name: string): string => {
      const value = form.get(name);
      return typeof value === "string" ? value : "";
    };
    setBusy(true);
    setError(null);
    signIn(text("email"), text("password"))
      .then(() => {
        client.clear();
        const next = safeNext(params.get("next"));
        // The console is a page of the server, not of this app.
        if (next.startsWith("/admin/")) {
          window.location.assign(next);
          return undefined;
        }
        return navigate(next, { replace: true });
      })
      .catch((failure: unknown) => setError(failure))
      .finally(() => setBusy(false));
  };

  return (
    <main className="signin">
      <title>Sign in · Stillroom</title>
      <form className="card signin-card" onSubmit={submit}>
        <h1>Stillroom</h1>
        <p className="second">Sign in to submit, watch and compare runs.</p>
        <label>
          E-mail
          <input className="input" name="email" type="email" autoComplete="username" required autoFocus />
        </label>
        <label>
          Password
          <input className="input" name="password" type="password" autoComplete="current-password" required />
        </label>
        {error !== null && <ErrorNote error={error} />}
        <Button type="submit" look="primary" disabled={busy}>
          {busy ? "Signing in" : "Sign in"}
        </Button>
      </form>
    </main>
  );
}
