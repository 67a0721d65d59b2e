//! auth, tokens, certificates.

use std::process::Command;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::{
    e2e::waiting::until,
    wire::scene::{SOON, Scene, has},
};

pub fn auth(s: &Scene<'_>) -> Result<()> {
    ensure!(s.run("auth can-i create pods")? == "yes", "the administrator may");
    ensure!(s.run("auth can-i get pods --subresource=log")? == "yes", "logs too");
    let jane = s.outcome("auth can-i create pods --as=jane", "")?;
    ensure!(jane.code == 1 && jane.out.trim() == "no", "{jane:?}");
    s.run("create role r --verb=get,list --resource=pods")?;
    s.run("create rolebinding rb --role=r --user=jane")?;
    until("jane may", SOON, || {
        let said = s.outcome("auth can-i list pods --as=jane", "")?.out;
        ensure!(said.trim() == "yes", "{said}");
        Ok(())
    })?;
    has(
        &s.run("auth can-i --list --as=jane")?,
        &["pods", "[get list]", "selfsubjectaccessreviews"],
    )?;
    has(&s.run("get pods --as=jane").map(|_| "listed".to_owned())?, &["listed"])?;
    let refused = s.refused("get secrets --as=jane", "")?;
    has(
        &refused,
        &[
            "(Forbidden)",
            "User \"jane\" cannot list resource \"secrets\" in API group \"\" in the namespace",
        ],
    )?;
    let who: Value = serde_json::from_str(&s.run("auth whoami -o json")?)?;
    ensure!(who["status"]["userInfo"]["groups"].to_string().contains("system:masters"), "{who}");
    let who: Value = serde_json::from_str(&s.run("auth whoami -o json --as=jane --as-group=g")?)?;
    ensure!(who["status"]["userInfo"]["username"] == "jane", "{who}");
    let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "r", "namespace": s.namespace},
        "rules": [{"apiGroups": [""], "resources": ["services"], "verbs": ["get"]}]});
    s.with("auth reconcile -f -", &role.to_string())?;
    let rules = s.get("rbac.authorization.k8s.io/v1/roles", "r")?["rules"].to_string();
    has(&rules, &["services", "pods"])?;
    s.saw("allowed, denied, listed, whoami, reconciled");
    Ok(())
}

pub fn token(s: &Scene<'_>) -> Result<()> {
    s.run("create serviceaccount robot")?;
    let token = s
        .run("create token robot --duration=1h --audience=https://kubernetes.default.svc")
        .or_else(|_| s.run("create token robot --duration=1h"))?;
    ensure!(token.split('.').count() == 3, "no JWT: {token}");
    let own = s.run("create token robot")?;
    s.run(&format!(
        "create rolebinding rb --clusterrole=view --serviceaccount={}:robot",
        s.namespace
    ))?;
    until("the token may list pods", SOON, || {
        let server =
            s.run("config view --minify --raw -o jsonpath={.clusters[0].cluster.server}")?;
        let authority = s.run("config view --minify --raw -o jsonpath={.clusters[0].cluster.certificate-authority-data}")?;
        let config = format!(
            "apiVersion: v1\nkind: Config\nclusters: [{{name: c, cluster: {{server: {server:?}, certificate-authority-data: {authority}}}}}]\n\
             users: [{{name: u, user: {{token: {own}}}}}]\ncontexts: [{{name: x, context: {{cluster: c, user: u}}}}]\ncurrent-context: x\n"
        );
        let file = s.file("robot.yaml", &config)?;
        let who: Value =
            serde_json::from_str(&s.run(&format!("--kubeconfig={file} auth whoami -o json"))?)?;
        let name = format!("system:serviceaccount:{}:robot", s.namespace);
        ensure!(who["status"]["userInfo"]["username"] == name.as_str(), "{who}");
        s.run(&format!("--kubeconfig={file} get pods"))?;
        let refused = s.refused(&format!("--kubeconfig={file} get secrets"), "")?;
        has(&refused, &["(Forbidden)"])
    })?;
    s.with("create -f -", &super::bodies::pod("p").to_string())?;
    let bound = s.run("create token robot --bound-object-kind=Pod --bound-object-name=p");
    ensure!(
        bound.is_ok()
            || format!("{:#}", bound.unwrap_err()).contains("different serviceaccount name"),
        "a bound token"
    );
    s.saw("asked for, used, limited");
    Ok(())
}

pub fn certificate(s: &Scene<'_>) -> Result<()> {
    if Command::new("openssl").arg("version").output().is_err() {
        s.saw("skipped: openssl, which makes the requests");
        return Ok(());
    }
    for (verb, condition) in [("approve", "Approved"), ("deny", "Denied")] {
        let name = format!("{}-{verb}", s.namespace);
        let (key, request) = (s.path("key"), s.path("request"));
        let made = Command::new("openssl")
            .args([
                "req",
                "-new",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:prime256v1",
                "-nodes",
                "-subj",
                "/O=people/CN=jane",
                "-keyout",
                &key,
                "-out",
                &request,
            ])
            .output()?;
        ensure!(made.status.success(), "openssl: {}", String::from_utf8_lossy(&made.stderr));
        let encoded = Command::new("base64").args(["-w0", &request]).output()?.stdout;
        let object = json!({"apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest", "metadata": {"name": name},
            "spec": {"request": String::from_utf8_lossy(&encoded), "signerName": "kubernetes.io/kube-apiserver-client", "usages": ["client auth"]}});
        s.with("create -f -", &object.to_string())?;
        s.run(&format!("certificate {verb} {name}"))?;
        let path = format!("/apis/certificates.k8s.io/v1/certificatesigningrequests/{name}");
        until("the condition and the certificate", SOON, || {
            let object = s.raw_json(&path)?;
            ensure!(object["status"]["conditions"][0]["type"] == condition, "{object}");
            let issued = object["status"]["certificate"].is_string();
            ensure!(issued == (verb == "approve"), "certificate: {issued}");
            Ok(())
        })?;
        has(&s.run(&format!("get csr {name}"))?, &["SIGNERNAME", condition])?;
        s.run(&format!("delete csr {name}"))?;
    }
    s.saw("approved and issued; denied");
    Ok(())
}
