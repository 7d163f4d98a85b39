import type { Me } from "@/api/types";
import { EmptyState } from "@/ui/Notes";
import { PageFrame } from "@/ui/PageFrame";

/** An account without an organisation can do nothing yet; say who can change that. */
export function NoOrganisation({ me }: { me: Me }) {
  return (
    <PageFrame title="Home">
      <EmptyState>
        You are signed in as {me.user.email} and belong to no organisation yet. Ask an administrator of one to
        add this address under Members; it appears here as soon as you reload.
      </EmptyState>
      {me.user.is_staff && (
        <EmptyState action={<a href="/admin/">Open the administration</a>}>
          As staff you can make an organisation in the administration.
        </EmptyState>
      )}
    </PageFrame>
  );
}
