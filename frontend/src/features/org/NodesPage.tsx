import { useQuery } from "@tanstack/react-query";
import { Link, useParams } from "react-router";
import { nodesQuery } from "@/api/orgs";
import type { NodeInfo } from "@/api/types";
import { useNow } from "@/lib/clock";
import { formatBytes, plural } from "@/lib/numbers";
import { formatTime } from "@/lib/times";
import { EmptyState, ErrorNote, Skeleton } from "@/ui/Notes";
import { PageFrame } from "@/ui/PageFrame";
import "./org.css";

export function NodesPage() {
  const { org = "" } = useParams();
  useNow(10_000);
  const nodes = useQuery(nodesQuery(org));
  return (
    <PageFrame title="Nodes">
      <div className="page-body">
        {nodes.isPending && <Skeleton />}
        {nodes.isError && <ErrorNote error={nodes.error} retry={() => void nodes.refetch()} />}
        {nodes.data?.items.length === 0 && (
          <EmptyState script="python manage.py node --help">
            No nodes are attached, so nothing can run. An administrator attaches one with a command on the
            node.
          </EmptyState>
        )}
        <div className="nodes">
          {nodes.data?.items.map((node) => (
            <NodeCard key={node.id} org={org} node={node} />
          ))}
        </div>
      </div>
    </PageFrame>
  );
}

function NodeCard({ org, node }: { org: string; node: NodeInfo }) {
  const busy = node.devices.filter((device) => device.run !== null).length;
  return (
    <section className="card node" aria-label={node.name}>
      <header className="card-head">
        <h2>{node.name}</h2>
        <span className="quiet">
          {[node.hostname, node.version].filter((part) => part !== "").join(", ")}
        </span>
        <span className="spacer" />
        <span className={node.status === "ready" ? "tag" : "tag tag-warn"}>{node.status}</span>
      </header>
      <p className="node-line second">
        {plural(node.devices.length, "device")}, {busy} in use. Heard{" "}
        {node.heartbeat_at === null ? "never" : formatTime(node.heartbeat_at)}.
      </p>
      <table className="table" aria-label={`Devices of ${node.name}`}>
        <thead>
          <tr>
            <th scope="col">Device</th>
            <th scope="col" className="number">
              Memory
            </th>
            <th scope="col">State</th>
            <th scope="col">Run</th>
          </tr>
        </thead>
        <tbody>
          {node.devices.map((device) => (
            <tr key={`${device.kind}:${device.index}`}>
              <td>
                {device.kind} {device.index} <span className="quiet">{device.name}</span>
              </td>
              <td className="number second">
                {device.memory_bytes === null ? "–" : formatBytes(device.memory_bytes)}
              </td>
              <td className="second">{device.status}</td>
              <td>
                {device.run === null ? (
                  <span className="quiet">idle</span>
                ) : (
                  <Link className="mono" to={`/o/${org}/runs/${device.run}`}>
                    {device.run}
                  </Link>
                )}
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  );
}
